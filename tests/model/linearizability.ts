/**
 * Whether what threads did to a structure could have been done by one of them at a time.
 *
 * A history is a list of operations, each with a time before the call and a time after its return. It is
 * linearizable when each operation can be given one moment between its two times such that, in the order
 * of these moments, the structure's sequential model answers what was answered. Times that are equal
 * count as overlapping, so a coarse clock accuses nobody.
 *
 * Two checkers: {@linkcode queueFault} for FIFO queues, in O(n log n), by aspects (Henzinger, Sezgin and
 * Vafeiadis, "Aspect-oriented linearizability proofs", CONCUR 2013); {@linkcode linearizes} for any
 * model, by trying the orders and remembering where it was (Wing and Gong, JPDC 1993; Lowe, "Testing for
 * linearizability", 2017), exponential at worst, so for windows of a hundred operations or fewer.
 *
 * @module
 */

/** What an operation on a queue or stack did. */
export const OPERATION = {
  /** Put `value` in. */
  push: 1,
  /** Got `value`. */
  pop: 2,
  /** Found nothing to pop; `value` says nothing. */
  empty: 3,
  /** Found no room to push; `value` says nothing. */
  full: 4,
} as const;

/** One operation. */
export interface Operation {
  kind: number;
  value: number;
  /** When it was called. */
  start: number;
  /** When it had returned; `Infinity` when it never did: its thread died in it, or still is in it. */
  end: number;
}

/** A history that threads of any number wrote down: columns, for there are millions. */
export class History {
  #columns: Float64Array<ArrayBuffer>;
  #length = 0;

  /** @param capacity operations there is room for; it grows. */
  constructor(capacity = 1024) {
    this.#columns = new Float64Array(4 * capacity);
  }

  /** A history out of what {@linkcode History.columns} of another gave, for example by `postMessage`. */
  static of(columns: Float64Array<ArrayBuffer>): History {
    const history = new History(0);
    history.#columns = columns;
    history.#length = columns.length / 4;
    return history;
  }

  /** Operations. */
  get length(): number {
    return this.#length;
  }

  /** kind, value, start and end of each operation, one after the other. */
  get columns(): Float64Array<ArrayBuffer> {
    return this.#columns.slice(0, 4 * this.#length);
  }

  /** Notes an operation. */
  add(kind: number, value: number, start: number, end: number): void {
    const at = 4 * this.#length++;
    if (at + 4 > this.#columns.length) {
      const larger = new Float64Array(Math.max(4096, 2 * this.#columns.length));
      larger.set(this.#columns);
      this.#columns = larger;
    }
    this.#columns[at] = kind;
    this.#columns[at + 1] = value;
    this.#columns[at + 2] = start;
    this.#columns[at + 3] = end;
  }

  /** Notes all operations of another history. */
  addAll(other: History): void {
    for (let at = 0; at < 4 * other.#length; at += 4) {
      const [kind, value, start, end] = other.#columns.subarray(at, at + 4);
      this.add(kind, value, start, end);
    }
  }

  /** One operation. */
  at(index: number): Operation {
    const [kind, value, start, end] = this.#columns.subarray(4 * index, 4 * index + 4);
    return { kind, value, start, end };
  }

  /** All of them. */
  operations(): Operation[] {
    return Array.from({ length: this.#length }, (_, index) => this.at(index));
  }
}

/** What cannot be, and the value it shows at. */
export interface Fault {
  /**
   * `fresh`: popped before it was pushed, or never pushed. `repeat`: popped or pushed twice. `order`: came
   * out after a value that went in later, or came out while that never did. `empty`: the queue was said to
   * be empty while it surely was not. `full`: said to be full while there was surely room.
   */
  aspect: "fresh" | "repeat" | "order" | "empty" | "full";
  value: number;
}

/**
 * What makes a history of a FIFO queue impossible; undefined when it is linearizable.
 *
 * Exact when every pop returned and nothing was `full`. Pushed values have to be distinct. A push that
 * never returned may have happened or not. A pop that never returned may have taken one value: leave it
 * out of the history and count it in `lostPops`; so many values may then be missing. With those the check
 * is no longer exact, but still accuses nobody falsely. `capacity` adds a necessary
 * condition for `full`.
 *
 * O(n log n).
 */
export function queueFault(
  history: History,
  { capacity = Infinity, lostPops = 0 }: { capacity?: number; lostPops?: number } = {},
): Fault | undefined {
  const sorted = sortByValue(history);
  if ("aspect" in sorted) return sorted;
  return orderFault(sorted, lostPops) ?? emptyFault(sorted, history, lostPops) ??
    fullFault(history, capacity);
}

/** Every value with its times, in any order. A value that never came out has a pop at `Infinity`. */
interface Values {
  value: Float64Array;
  pushStart: Float64Array;
  pushEnd: Float64Array;
  popStart: Float64Array;
  popEnd: Float64Array;
}

function sortByValue(history: History): Values | Fault {
  const place = new Map<number, number>();
  const columns = history.columns;
  const value = [], pushStart = [], pushEnd = [];
  for (let at = 0; at < columns.length; at += 4) {
    if (columns[at] !== OPERATION.push) continue;
    if (place.has(columns[at + 1])) return { aspect: "repeat", value: columns[at + 1] };
    place.set(columns[at + 1], value.length);
    value.push(columns[at + 1]);
    pushStart.push(columns[at + 2]);
    pushEnd.push(columns[at + 3]);
  }
  const popStart = new Float64Array(value.length).fill(Infinity);
  const popEnd = new Float64Array(value.length).fill(Infinity);
  for (let at = 0; at < columns.length; at += 4) {
    if (columns[at] !== OPERATION.pop) continue;
    const index = place.get(columns[at + 1]);
    if (index === undefined || columns[at + 3] < pushStart[index]) {
      return { aspect: "fresh", value: columns[at + 1] };
    }
    if (popStart[index] !== Infinity) return { aspect: "repeat", value: columns[at + 1] };
    popStart[index] = columns[at + 2];
    popEnd[index] = columns[at + 3];
  }
  return {
    value: Float64Array.from(value),
    pushStart: Float64Array.from(pushStart),
    pushEnd: Float64Array.from(pushEnd),
    popStart,
    popEnd,
  };
}

/** a went in wholly before b, and b came out wholly before a did, or a never did. */
function orderFault(values: Values, lostPops: number): Fault | undefined {
  const { value, pushStart, pushEnd, popStart, popEnd } = values;
  const byEnd = indexes(pushEnd), byStart = indexes(pushStart);
  let before = 0, latestPop = -Infinity, lost = 0;
  for (const b of byStart) {
    while (before < byEnd.length && pushEnd[byEnd[before]] < pushStart[b]) {
      const a = byEnd[before++];
      if (popStart[a] === Infinity && lost < lostPops) lost++; // a dead consumer may have it
      else latestPop = Math.max(latestPop, popStart[a]);
    }
    if (popEnd[b] < latestPop) return { aspect: "order", value: value[b] };
  }
  return undefined;
}

/** From the end of its push to the start of its pop a value is surely inside. "Empty" must not have been
 * said by an operation that such stretches, one overlapping the next, cover wholly. */
function emptyFault(values: Values, history: History, lostPops: number): Fault | undefined {
  const { pushEnd, popStart } = values;
  const froms: number[] = [], tos: number[] = [];
  let lost = 0;
  for (const index of indexes(pushEnd)) {
    const from = pushEnd[index], to = popStart[index];
    if (to === Infinity && lost < lostPops) lost++;
    else if (from >= to) continue;
    else if (froms.length > 0 && from < tos.at(-1)!) {
      tos[tos.length - 1] = Math.max(tos.at(-1)!, to);
    } else {
      froms.push(from);
      tos.push(to);
    }
  }
  const columns = history.columns;
  for (let at = 0; at < columns.length; at += 4) {
    if (columns[at] !== OPERATION.empty) continue;
    const stretch = lastBelow(froms, columns[at + 2]);
    if (stretch >= 0 && tos[stretch] > columns[at + 3]) return { aspect: "empty", value: NaN };
  }
  return undefined;
}

/** Necessary only: values pushed or being pushed before "full" returned, less those that were surely
 * popped before it was called. */
function fullFault(history: History, capacity: number): Fault | undefined {
  if (capacity === Infinity) return undefined;
  const columns = history.columns;
  const pushStarts: number[] = [], popEnds: number[] = [];
  for (let at = 0; at < columns.length; at += 4) {
    if (columns[at] === OPERATION.push) pushStarts.push(columns[at + 2]);
    if (columns[at] === OPERATION.pop) popEnds.push(columns[at + 3]);
  }
  const starts = Float64Array.from(pushStarts).sort(), ends = Float64Array.from(popEnds).sort();
  for (let at = 0; at < columns.length; at += 4) {
    if (columns[at] !== OPERATION.full) continue;
    const atMost = atOrBelow(starts, columns[at + 3]) - (lastBelow(ends, columns[at + 2]) + 1);
    if (atMost < capacity) return { aspect: "full", value: NaN };
  }
  return undefined;
}

/** Indexes of the array in the order of its values. */
function indexes(of: Float64Array): Uint32Array {
  return Uint32Array.from(of, (_, index) => index).sort((a, b) => of[a] - of[b] || a - b);
}

/** Index of the last one below `limit`, -1 when there is none; `sorted` rises. */
function lastBelow(sorted: ArrayLike<number>, limit: number): number {
  let low = 0, high = sorted.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (sorted[middle] < limit) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

/** How many are not above `limit`. */
function atOrBelow(sorted: ArrayLike<number>, limit: number): number {
  let low = 0, high = sorted.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (sorted[middle] <= limit) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** A structure as one thread sees it. */
export interface SequentialModel<State, Step> {
  initial: State;
  /** The state after an operation that answered as it did; undefined when it cannot have. */
  step(state: State, operation: Step): State | undefined;
  /** Equal for equal states, and for those only. */
  key(state: State): string;
}

/** A queue of at most `capacity` values. */
export function queueModel(capacity = Infinity): SequentialModel<readonly number[], Operation> {
  return {
    initial: [],
    step: (state, { kind, value, end }) =>
      kind === OPERATION.push
        ? state.length < capacity ? [...state, value] : undefined
        : kind === OPERATION.pop
        ? state.length > 0 && (end === Infinity || state[0] === value) ? state.slice(1) : undefined
        : (kind === OPERATION.empty ? state.length === 0 : state.length === capacity)
        ? state
        : undefined,
    key: (state) => state.join(),
  };
}

/** A stack of at most `capacity` values. */
export function stackModel(capacity = Infinity): SequentialModel<readonly number[], Operation> {
  const queue = queueModel(capacity);
  return {
    ...queue,
    step: (state, operation) =>
      operation.kind !== OPERATION.pop
        ? queue.step(state, operation)
        : state.length > 0 && (operation.end === Infinity || state.at(-1) === operation.value)
        ? state.slice(0, -1)
        : undefined,
  };
}

/** A call or a return in the list that {@linkcode linearizes} takes operations out of. */
interface Event {
  index: number;
  /** The return of a call; undefined for a return, and for a call that never returned. */
  match?: Event;
  call: boolean;
  previous: Event;
  next: Event | undefined;
}

/**
 * Whether some order of the operations agrees with their times and with the model. Operations that never
 * returned (`end` is `Infinity`) may be left out.
 *
 * @throws {RangeError} after `stepsMax` steps without an answer
 */
export function linearizes<State, Step extends { start: number; end: number }>(
  operations: readonly Step[],
  model: SequentialModel<State, Step>,
  stepsMax = 5e6,
): boolean {
  const head = eventList(operations);
  const taken = new Uint32Array(Math.ceil(operations.length / 32));
  const seen = new Set<string>();
  const path: { call: Event; state: State }[] = [];
  let unfinished = operations.filter(({ end }) => end !== Infinity).length;
  let state = model.initial;
  let at = head.next;
  for (let steps = 0; unfinished > 0; steps++) {
    if (steps === stepsMax) throw new RangeError(`no answer after ${stepsMax} steps`);
    if (at?.call) {
      const next = model.step(state, operations[at.index]);
      if (next !== undefined) {
        taken[at.index >> 5] ^= 1 << (at.index & 31);
        const key = `${taken.join()}|${model.key(next)}`;
        if (!seen.has(key)) {
          seen.add(key);
          path.push({ call: at, state });
          state = next;
          if (at.match) unfinished--;
          takeOut(at);
          at = head.next;
          continue;
        }
        taken[at.index >> 5] ^= 1 << (at.index & 31);
      }
      at = at.next;
      continue;
    }
    // A return that nobody may pass, or the end: what was tried last was wrong.
    const last = path.pop();
    if (!last) return false;
    putBack(last.call);
    taken[last.call.index >> 5] ^= 1 << (last.call.index & 31);
    if (last.call.match) unfinished++;
    state = last.state;
    at = last.call.next;
  }
  return true;
}

/** Calls and returns by time; at one time calls come first, so that the two overlap. */
function eventList(operations: readonly { start: number; end: number }[]): Event {
  const head = { index: -1, call: false, next: undefined } as unknown as Event;
  const events: (Event & { time: number })[] = [];
  for (const [index, { start, end }] of operations.entries()) {
    const call = { index, call: true, time: start } as Event & { time: number };
    events.push(call);
    if (end === Infinity) continue;
    const match = { index, call: false, time: end } as Event & { time: number };
    call.match = match;
    events.push(match);
  }
  events.sort((a, b) => a.time - b.time || Number(b.call) - Number(a.call));
  let last: Event = head;
  for (const event of events) {
    last.next = event;
    event.previous = last;
    last = event;
  }
  return head;
}

function takeOut(call: Event): void {
  for (const event of [call, call.match]) {
    if (!event) continue;
    event.previous.next = event.next;
    if (event.next) event.next.previous = event.previous;
  }
}

function putBack(call: Event): void {
  for (const event of [call.match, call]) {
    if (!event) continue;
    event.previous.next = event;
    if (event.next) event.next.previous = event;
  }
}
