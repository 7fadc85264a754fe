/**
 * An insert of node:sqlite, each its own transaction.
 *
 * @module
 */
import { awaitEach } from "../broker/durable_work.ts";
import { type Contender, Missing } from "../frame/row.ts";

export const nodeSqlite: Contender = {
  name: "node:sqlite insert",
  kind: "peer",
  note:
    "journal_mode WAL, synchronous FULL, prepared statement; it blocks the event loop meanwhile",
  async open(context) {
    const { DatabaseSync } = await import("node:sqlite").catch(() => {
      throw new Missing("this Deno has no node:sqlite");
    });
    const database = new DatabaseSync(`${context.folder}/records.sqlite`);
    database.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL");
    database.exec("CREATE TABLE records (number INTEGER PRIMARY KEY, bytes BLOB)");
    const insert = database.prepare("INSERT INTO records (bytes) VALUES (?)");
    return {
      round: () => awaitEach(context, (record) => insert.run(record)),
      close: () => database.close(),
    };
  },
};
