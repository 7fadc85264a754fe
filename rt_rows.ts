import { rows } from "./bench/rows.ts";
import { Missing, rowTitle } from "./bench/frame/row.ts";
import { median } from "./bench/frame/statistics.ts";
const [part, scale = "10", rounds = "5"] = Deno.args;
for (const row of rows.filter((r) => rowTitle(r).includes(part))) {
  const folder = await Deno.makeTempDir();
  const ctx = {
    smoke: false,
    size: (s: { smoke: number; full: number }) =>
      Math.max(s.smoke, Math.ceil(s.full / Number(scale))),
    seed: 1,
    folder,
  };
  const sides: { name: string; s: any; v: number[]; also: any }[] = [];
  for (const c of [{ name: "keelson", ...row.own }, ...row.others ?? []]) {
    try {
      sides.push({
        name: c.name,
        s: await c.open({ ...ctx, folder: await Deno.makeTempDir() }),
        v: [],
        also: {},
      });
    } catch (e) {
      if (!(e instanceof Missing)) throw e;
    }
  }
  for (let i = -1; i < Number(rounds); i++) {
    for (const x of i % 2 ? sides : sides.toReversed()) {
      const r = await x.s.round();
      if (i >= 0) x.v.push(r.value);
      x.also = r.also;
    }
  }
  console.log(rowTitle(row), `(${row.unit})`);
  for (const x of sides) {
    console.log(
      "   ",
      x.name.padEnd(32),
      median(x.v).toFixed(2).padStart(9),
      `[${Math.min(...x.v).toFixed(2)}..${Math.max(...x.v).toFixed(2)}]`,
      Object.entries(x.also ?? {}).map(([k, v]) => `${k} ${(v as number).toFixed(2)}`).join(" "),
    );
  }
  for (const x of sides.reverse()) await x.s.close?.();
}
Deno.exit(0);
