/** Numbers for people: grouped, or short with a unit, always the same width for the same size. */

/** What stands where a number is not known yet. */
export const unknown = "–";

const grouped = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

/** `1234567` as `1,234,567`. */
export function count(value: number): string {
  return grouped.format(value);
}

/** All digits as long as they fit the column (below 10^9), then `1.23 G`. */
export function tableCount(value: number): string {
  return value < 1e9 ? count(value) : shortCount(value);
}

/** `1234567` as `1.23 M`: three significant digits, plain below 10,000. */
export function shortCount(value: number): string {
  if (value < 10_000) return count(Math.round(value));
  return scaled(value, 1_000, ["", " K", " M", " G", " T", " P"]);
}

/** `1234567` as `1.23 MB`: decimal units, as disks and networks are sold. */
export function byteCount(value: number): string {
  if (value < 1_000) return `${Math.round(value)} B`;
  return scaled(value, 1_000, [" B", " KB", " MB", " GB", " TB", " PB"]);
}

/** Microseconds as `58 µs`, `1.2 ms` or `3.4 s`. */
export function micros(value: number | null): string {
  if (value === null || !Number.isFinite(value)) return unknown;
  if (value < 1_000) return `${digits(value)} µs`;
  if (value < 1_000_000) return `${digits(value / 1_000)} ms`;
  if (value < 1_000_000_000) return `${digits(value / 1_000_000)} s`;
  return `${shortCount(value / 1_000_000)} s`;
}

/** A duration in words: `8 seconds`, `3 minutes`. */
export function seconds(value: number): string {
  const whole = Math.max(0, Math.round(value));
  if (whole < 120) return `${whole} ${whole === 1 ? "second" : "seconds"}`;
  return `${Math.round(whole / 60)} minutes`;
}

/** `3 records`, `1 record`. */
export function plural(value: number, noun: string): string {
  return `${count(value)} ${noun}${value === 1 ? "" : "s"}`;
}

function scaled(value: number, base: number, units: string[]): string {
  let size = value, unit = 0;
  while (size >= base && unit < units.length - 1) {
    size /= base;
    unit++;
  }
  // 999.6 rounds to "1000 K": go one unit further instead
  if (Math.round(size) >= base && unit < units.length - 1) {
    size /= base;
    unit++;
  }
  return digits(size) + units[unit];
}

/** Three significant digits, never more than three before the point are needed here. */
function digits(value: number): string {
  if (value >= 100) return value.toFixed(0);
  return value >= 10 ? value.toFixed(1) : value.toFixed(2);
}
