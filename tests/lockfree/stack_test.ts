import { preload } from "../../ffi/library.ts";
import { preloadCompletion } from "../../lib/exec/completion.ts";
import { Stack } from "../../lib/lockfree/stack.ts";
import { elementCases } from "./element_cases.ts";

preload("base", "sync", "lockfree", "exec");
await preloadCompletion();

elementCases({
  name: "Stack",
  module: "lib/lockfree/stack.ts",
  type: Stack,
  take: (model) => model.pop(),
  order: "S1",
  exact: "S1",
  elementBytesMax: 65528,
});
