/** What the pools of the tests run. */
export const echo = (value: unknown) => value;
export const square = (n: number) => n * n;
export const fail = (message: string) => {
  throw new RangeError(message);
};
export const reject = (message: string) => Promise.reject(new RangeError(message));
export const later = async (ms: number) => {
  await new Promise((resolve) => setTimeout(resolve, ms));
  return ms;
};
/** Ends the Worker in the middle. */
export const die = () => {
  setTimeout(() => {
    throw new Error("nobody catches this");
  });
  return new Promise(() => {});
};
/** Says in shared memory that it runs, and goes on until it is told to end. */
export const hold = ({ cell }: { cell: string }) => {
  Deno.writeTextFileSync(`${cell}.begun`, "");
  while (!exists(`${cell}.end`)) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2);
  return "held";
};
/** Appends a letter to a file: who ran, and how often. */
export const mark = ({ file, letter }: { file: string; letter: string }) => {
  Deno.writeTextFileSync(file, letter, { append: true });
  return letter;
};
/** The Worker's own number of calls, to tell Workers from each other. */
const me = crypto.randomUUID();
export const whoAmI = () => me;
export const burn = (rounds: number) => {
  let x = 1;
  for (let i = 0; i < rounds; i++) x = (Math.imul(x, 31) + i) | 0;
  return [me, x];
};
export const large = (bytes: number) => new Uint8Array(bytes);
/** Of a graph: adds the value and all results. */
export const add = (value: number, results: number[]) => results.reduce((a, b) => a + b, value);
export default { inDefault: () => "found" };

function exists(path: string): boolean {
  try {
    Deno.statSync(path);
    return true;
  } catch {
    return false;
  }
}
