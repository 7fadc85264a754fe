import { preload } from "../../ffi/library.ts";
import { preloadCompletion } from "../../lib/exec/completion.ts";
import { MsQueue } from "../../lib/lockfree/ms_queue.ts";
import { elementCases } from "./element_cases.ts";

preload("base", "sync", "lockfree", "exec");
await preloadCompletion();

elementCases({
  name: "MsQueue",
  module: "lib/lockfree/ms_queue.ts",
  type: MsQueue,
  take: (model) => model.shift(),
  order: "Q1",
  exact: "Q2_Q4",
  elementBytesMax: 4096,
});
