/// <reference no-default-lib="true" />
/// <reference lib="deno.worker" />
/**
 * The consumer's side of {@linkcode StreamReader}: digests every record it is sent.
 *
 * @module
 */
import { RecordDigest } from "../frame/statistics.ts";
import { natsConsumer } from "./nats_jetstream.ts";
import { redisConsumer } from "./redis_streams.ts";
import { PROGRESS_RECORDS, type ReaderTask } from "./stream_reader.ts";

/** Adds what came next to the digest. */
let take: (digest: RecordDigest) => Promise<void>;

self.onmessage = async ({ data }: MessageEvent<ReaderTask | number>) => {
  if (typeof data !== "number") {
    take = await (data.server === "redis" ? redisConsumer : natsConsumer)(data.port);
    self.postMessage("ready");
    return;
  }
  const digest = new RecordDigest();
  let said = 0;
  while (digest.records < data) {
    await take(digest);
    if (digest.records - said < PROGRESS_RECORDS) continue;
    said = digest.records;
    self.postMessage(said);
  }
  self.postMessage(digest.toString());
};
