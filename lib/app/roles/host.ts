/**
 * The processes that host the broker's roles. All work is done by the role's own threads in C; this
 * isolate only watches whether they failed.
 *
 * @module
 */
import { openBroker } from "../../broker/broker.ts";
import { EXIT, Failure } from "../failure.ts";
import { FRAME } from "../frames.ts";
import { brokerFolder } from "../node_file.ts";
import { ParentLink } from "../parent_link.ts";

/** What `run` asks of this process. */
export interface HostTask {
  data: string;
  /** Which broker; absent: the sequencer. */
  index?: number;
}

const FAILURE_CHECK_MS = 500;

/** Hosts the role until `run` says stop, or the role fails. */
export async function hostRole({ data, index }: HostTask): Promise<never> {
  const link = new ParentLink(() => {});
  using broker = openBroker(brokerFolder(data));
  using role = index === undefined ? broker.hostSequencer() : broker.hostBroker(index);
  link.send(FRAME.ready);
  const failed = new Promise<string>((resolve) => {
    setInterval(() => role.failed !== undefined && resolve(role.failed), FAILURE_CHECK_MS);
  });
  const failure = await Promise.race([failed, link.stopRequested]);
  if (failure) throw new Failure(failure);
  role.close();
  broker.close();
  return await link.exit(EXIT.ok);
}
