/**
 * Messages between Workers and between processes.
 *
 * @module
 */
import type { Contender, Floor, RowDefinition } from "../frame/row.ts";
import {
  postMessageEcho,
  postMessageFlow,
  postMessageTransferEcho,
} from "../peers/post_message_echo.ts";
import { sabEcho, sabFlow } from "../peers/sab_messages.ts";
import { STREAM_FLOWS, streamEchoes } from "../peers/streams.ts";
import { FLOW_BATCH, FLOW_BYTES, SPIN_MICROS } from "./message_work.ts";
import { ringEcho, ringFlow } from "./message_sides.ts";

const ROUNDS = { smoke: 1, full: 15 };
const BYTES = [8, 256, 4096, 65_536];

function sizeWords(bytes: number): string {
  return bytes < 1024 ? `${bytes} B` : `${bytes / 1024} KiB`;
}

/** `times` quicker than that side, where lower is better. */
function quicker(to: string, times: number): Floor {
  return { kind: "relative", to, factor: 1 / times };
}

function tripRow(words: string, row: Partial<RowDefinition> & Pick<RowDefinition, "own">) {
  return {
    group: "lockfree",
    name: `round trip ${words}`,
    unit: "us",
    better: "lower",
    rounds: ROUNDS,
    ...row,
  } satisfies RowDefinition;
}

const WORKER_TRIPS = BYTES.map((bytes) =>
  tripRow(`to a Worker, ${sizeWords(bytes)}`, {
    note: `two rings; both sides block: they spin up to ${SPIN_MICROS} us, then sleep`,
    floors: [
      // Copying 64 KiB in and out at either end takes longer than an eighth of what postMessage takes.
      quicker("postMessage", bytes > 10_000 ? 3 : 8),
      ...(bytes <= 256 ? [{ kind: "absolute", value: 10 } as const] : []),
    ],
    own: ringEcho({ place: "worker", bytes }),
    others: [
      postMessageEcho(bytes),
      ...(bytes >= 4096 ? [postMessageTransferEcho(bytes)] : []),
      sabEcho(bytes),
    ],
  })
);

const GAP_TRIP = tripRow("to a Worker, 8 B, 1 ms apart", {
  note: "both sides have fallen asleep when the next one is sent",
  floors: [quicker("postMessage", 1.2)],
  own: ringEcho({ place: "worker", bytes: 8, gapMs: 1 }),
  others: [postMessageEcho(8, 1), sabEcho(8, 1)],
});

const LOOP_TRIP = tripRow("from an event loop to a Worker, 8 B", {
  note: "the asking side awaits ring.waitForData(); the Worker blocks",
  floors: [{ kind: "absolute", value: 30 }, quicker("postMessage", 3)],
  own: ringEcho({ place: "worker", bytes: 8, awaits: true }),
  others: [postMessageEcho(8)],
});

const PROCESS_TRIPS = BYTES.map((bytes) => {
  const between: Contender = {
    name: "the same to a Worker",
    kind: "baseline",
    ...ringEcho({ place: "worker", bytes }),
  };
  const streams = streamEchoes(bytes);
  return tripRow(`to another process, ${sizeWords(bytes)}`, {
    floors: [
      { kind: "relative", to: between.name, factor: 1.2 },
      ...streams.map(({ name }) => ({ kind: "equal", to: name }) as const),
    ],
    own: ringEcho({ place: "process", bytes }),
    others: [...streams, between],
  });
});

function flowRow(words: string, row: Partial<RowDefinition> & Pick<RowDefinition, "own">) {
  return {
    group: "lockfree",
    name: `one way ${words}, ${FLOW_BYTES} B`,
    unit: "M records/s",
    better: "higher",
    rounds: ROUNDS,
    note:
      `a push and a read for each; peers move ${FLOW_BATCH} at a time; the receiver digests each`,
    ...row,
  } satisfies RowDefinition;
}

const WORKER_FLOW = flowRow("to a Worker", {
  floors: [{ kind: "absolute", value: 10 }],
  own: ringFlow("worker"),
  others: [
    postMessageFlow(1),
    postMessageFlow(FLOW_BATCH),
    sabFlow,
    { name: "with pushMany and popMany", kind: "baseline", ...ringFlow("worker", true) },
  ],
});

const FLOW_BETWEEN: Contender = {
  name: "the same to a Worker",
  kind: "baseline",
  ...ringFlow("worker"),
};

const PROCESS_FLOW = flowRow("to another process", {
  floors: [
    { kind: "relative", to: FLOW_BETWEEN.name, factor: 1 / 1.2 },
    ...STREAM_FLOWS.map(({ name }) => ({ kind: "equal", to: name }) as const),
  ],
  own: ringFlow("process"),
  others: [...STREAM_FLOWS, FLOW_BETWEEN],
});

/** Rows of messages. */
export const MESSAGE_ROWS: RowDefinition[] = [
  ...WORKER_TRIPS,
  GAP_TRIP,
  LOOP_TRIP,
  WORKER_FLOW,
  ...PROCESS_TRIPS,
  PROCESS_FLOW,
];
