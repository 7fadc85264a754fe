import { assert, assertEquals } from "@std/assert";
import {
  InputSessions,
  type SmallState,
  type UnfinishedInput,
} from "../../lib/app/input_sessions.ts";

class MemoryState implements SmallState {
  payload: Uint8Array | undefined;
  read() {
    return this.payload;
  }
  write(payload: Uint8Array) {
    assert(payload.length <= 4032);
    this.payload = payload;
  }
}

const entry = (inode: number, more: Partial<UnfinishedInput> = {}): UnfinishedInput => ({
  device: 1,
  inode,
  size: 10,
  mtimeMs: 1000,
  topic: "lines",
  session: inode * 100,
  from: 0,
  ...more,
});

Deno.test("InputSessions finds the session of the same file and topic, also after a restart", () => {
  const state = new MemoryState();
  new InputSessions(state).begin(entry(1, { from: 42 }));
  const sessions = new InputSessions(state);
  assertEquals(sessions.find(entry(1), "lines")?.from, 42);
  assertEquals(sessions.find(entry(1), "other"), undefined);
  for (const changed of [{ device: 2 }, { inode: 2 }, { size: 11 }, { mtimeMs: 1001 }]) {
    assertEquals(sessions.find(entry(1, changed), "lines"), undefined);
  }
});

Deno.test("InputSessions forgets what is finished, and what a changed file replaces", () => {
  const state = new MemoryState();
  const sessions = new InputSessions(state);
  sessions.begin(entry(1));
  sessions.begin(entry(2));
  sessions.finish(100);
  assertEquals([sessions.find(entry(1), "lines"), sessions.find(entry(2), "lines")?.session], [
    undefined,
    200,
  ]);
  sessions.begin(entry(2, { size: 99, session: 7 }));
  assertEquals(sessions.find(entry(2), "lines"), undefined);
  assertEquals(sessions.find(entry(2, { size: 99 }), "lines")?.session, 7);
});

Deno.test("InputSessions keeps to the size of a manifest, forgetting the oldest", () => {
  const state = new MemoryState();
  const sessions = new InputSessions(state);
  for (let n = 0; n < 100; n++) sessions.begin(entry(n, { topic: "t".repeat(128) }));
  assertEquals(sessions.find(entry(0), "t".repeat(128)), undefined);
  assertEquals(sessions.find(entry(99), "t".repeat(128))?.session, 9900);
});

Deno.test("InputSessions takes a state it does not understand for an empty one", () => {
  for (const text of ["", "{", "{}", '{"unfinished":[{}]}', "null"]) {
    const state = new MemoryState();
    state.payload = new TextEncoder().encode(text);
    assertEquals(new InputSessions(state).find(entry(1), "lines"), undefined);
  }
});
