/**
 * The other end of the message rings, in another process: `message_rings_process.ts NAME`. Each line of its
 * input is `answer`, or `flow RECORDS` or `many RECORDS`, which is answered with the digest.
 *
 * @module
 */
import { inputLines } from "../frame/child_process.ts";
import { MessageRings } from "./message_rings.ts";

const rings = MessageRings.attach(Deno.args[0]);
console.log("ready");
for await (const line of inputLines()) {
  const [word, records] = line.split(" ");
  if (word === "answer") rings.answer();
  if (word === "answer") console.log("ready");
  else if (word === "many") console.log(rings.digestMany(Number(records)));
  else console.log(rings.digest(Number(records)));
}
rings.close();
