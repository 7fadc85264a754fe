/**
 * Record payloads as text for people: short, and harmless to look at.
 *
 * A payload is written by a stranger. Escaping markup is the page's business (it only ever sets
 * `textContent`); what is left are characters that lie about themselves: controls that vanish,
 * bidirectional overrides that reverse what stands beside them, piles of combining marks.
 *
 * @module
 */

/** Characters of a record that reach the page. */
export const recordTextMax = 400;

/** Cuts text to `maxLength` UTF-16 units without leaving half a character at the end. */
export function shorten(text: string, maxLength: number = recordTextMax): string {
  if (text.length <= maxLength) return text;
  const last = text.charCodeAt(maxLength - 1);
  const cutsPair = last >= 0xd800 && last <= 0xdbff;
  return text.slice(0, cutsPair ? maxLength - 1 : maxLength);
}

/** Combining marks that one character may carry before the rest is dropped. */
const marksMax = 3;
const markPile = new RegExp(`(\\p{M}{${marksMax}})\\p{M}+`, "gu");
/** Everything that is invisible or moves its neighbours: controls, formats, separators, halves. */
const unprintable = /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Zl}\p{Zp}]/gu;

/** What ASCII calls its controls; said in letters, because few fonts have pictures of them. */
const controlNames = ("NUL SOH STX ETX EOT ENQ ACK BEL BS TAB LF VT FF CR SO SI " +
  "DLE DC1 DC2 DC3 DC4 NAK SYN ETB CAN EM SUB ESC FS GS RS US").split(" ");

/**
 * Makes every character visible: NUL becomes `‹NUL›`, a right-to-left override `‹U+202E›`.
 * Zero-width joiners stay, because they only join (families of emoji, several scripts need them).
 */
export function printable(text: string): string {
  return text.replace(markPile, "$1").replace(unprintable, (character) => {
    const code = character.codePointAt(0)!;
    if (code < 0x20) return `‹${controlNames[code]}›`;
    if (code === 0x200d || code === 0x200c) return character;
    return `‹U+${code.toString(16).toUpperCase().padStart(4, "0")}›`;
  });
}
