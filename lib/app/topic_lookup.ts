/**
 * Finding a topic that must exist, and what it takes.
 *
 * @module
 */
import { type Broker, RECORD_BYTES_MAX } from "../broker/broker.ts";
import { nearest } from "./arguments.ts";
import { Failure } from "./failure.ts";

/** The name, when the node has such a topic; else a failure that says which it has. */
export function existingTopic(broker: Broker, name: string): string {
  const names = broker.topicNames();
  if (names.includes(name)) return name;
  const near = nearest(name, names);
  const shown = names.slice(0, 8).join(", ") + (names.length > 8 ? ", ..." : "");
  throw new Failure(
    `there is no topic ${name}` +
      (near
        ? `; did you mean ${near}?`
        : names.length > 0
        ? `; there are: ${shown}`
        : "; nothing was published to this node yet"),
  );
}

/** What the framing of a record in a batch costs at most. */
const FRAMING_BYTES = 8;

/** The largest record that a topic takes: less than the general limit where its lanes are small. */
export function recordBytesMax(broker: Broker, topic: string): number {
  const { batchBytesMax } = broker.topicInfo(topic);
  return Math.min(RECORD_BYTES_MAX, (batchBytesMax - FRAMING_BYTES) & ~7);
}
