import { assertEquals } from "@std/assert";
import { tableText } from "../../lib/app/table.ts";

Deno.test("tableText() aligns words on the left and numbers on the right", () => {
  assertEquals(
    tableText([["topic", "records", ""], ["lines", "1,000", "x"], ["t", "5", ""]]),
    "topic  records\nlines    1,000  x\nt            5",
  );
});
