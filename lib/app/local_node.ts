/**
 * A node on this host while it runs: the lock of its data folder, its note for others, the broker
 * opened here, and the processes that host the roles. What publishes and what checks is added to it
 * by `run`.
 *
 * @module
 */
import { type Broker, openBroker } from "../broker/broker.ts";
import { Child, type ChildSpec } from "./child.ts";
import { DataFolder } from "./data_folder.ts";
import { Failure } from "./failure.ts";
import { brokerFolder, leftovers, readNode, removeNode, writeNode } from "./node_file.ts";
import { identityOf } from "./process_identity.ts";

/** How long the processes of an earlier node may take to notice that it has gone. */
const LEFTOVER_MS = 2000;
/** How long a role may take to end cleanly. */
const STOP_MS = 3000;

/** How to open a node. */
export interface LocalNodeOptions {
  data: string;
  /** Number of brokers; undefined: as the folder has it, else 4. */
  brokers?: number;
  /** Something that the node cannot do without cannot go on. */
  onFailure: (failure: Failure) => void;
}

/** The running node. */
export class LocalNode {
  readonly #children: Child[] = [];
  /** Port of the dashboard, for the note. */
  port: number | null = null;
  #noteWanted = false;
  #closed = false;

  private constructor(
    private readonly options: LocalNodeOptions,
    readonly folder: DataFolder,
    readonly broker: Broker,
  ) {}

  /** Takes the data folder, waits for what an earlier node left behind, and opens the broker. */
  static async open(options: LocalNodeOptions): Promise<LocalNode> {
    const { data, brokers } = options;
    const folder = new DataFolder(data, "keelson run");
    try {
      await vanished(data);
      const broker = openBroker(brokerFolder(data), brokers ? { brokerCount: brokers } : {});
      if (brokers !== undefined && broker.brokerCount !== brokers) {
        broker.close();
        throw new Failure(
          `${data} was created with ${broker.brokerCount} brokers, which cannot change; ` +
            `leave out --brokers, or name another folder with --data`,
        );
      }
      return new LocalNode(options, folder, broker);
    } catch (error) {
      folder.close();
      throw error;
    }
  }

  /** Starts the processes that host the brokers and the sequencer. */
  startHosts(): void {
    const { data } = this.options;
    this.add({ name: "sequencer", role: "sequencer", task: () => ({ data }) }).start();
    for (let index = 0; index < this.broker.brokerCount; index++) {
      this.add({ name: `broker ${index}`, role: "broker", task: () => ({ data, index }) }).start();
    }
  }

  /** Adds a process, not started yet. */
  add(spec: Omit<ChildSpec, "onFailure">): Child {
    const child: Child = new Child({
      ...spec,
      onFailure: this.options.onFailure,
      onStart: (restarts) => {
        this.noteSoon();
        spec.onStart?.(restarts);
      },
    });
    this.#children.push(child);
    return child;
  }

  /** Why a process that the node needs is not up, if one has just failed to start. */
  get trouble(): Failure | undefined {
    return this.#children.find((child) => child.trouble)?.trouble;
  }

  /** How often the process of this name was started again. */
  restartsOf(name: string): number {
    return this.#children.find((child) => child.spec.name === name)?.restarts ?? 0;
  }

  /** The name of the process with this pid, for people. */
  nameOf(pid: number): string | undefined {
    return this.#children.find((child) => child.identity?.pid === pid)?.spec.name;
  }

  /** Writes `node.json` before long: several starts at once are one note. */
  noteSoon(): void {
    if (this.#noteWanted || this.#closed) return;
    this.#noteWanted = true;
    queueMicrotask(() => {
      this.#noteWanted = false;
      if (!this.#closed) this.#note();
    });
  }

  #note(): void {
    const self = identityOf(Deno.pid)!;
    const { region } = this.broker as { region?: unknown };
    writeNode(this.options.data, {
      ...self,
      region: typeof region === "string" ? region : null,
      port: this.port,
      children: this.#children.flatMap((child) => child.identity ?? []),
    });
  }

  /** Ends every process, then gives the folder back. Nothing of the node is left but its data. */
  async close(): Promise<void> {
    await Promise.all(this.#children.map((child) => child.stop(STOP_MS)));
    this.broker.retire();
    this.#release();
  }

  /** Ends every process at once. */
  destroy(): void {
    for (const child of this.#children) child.destroy();
    this.#release();
  }

  #release(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.broker.close();
    removeNode(this.options.data);
    this.folder.close();
  }
}

/** Waits until the processes of a killed node have ended; ends those that have not by then. */
async function vanished(data: string): Promise<void> {
  const former = readNode(data);
  if (!former) return;
  const deadline = performance.now() + LEFTOVER_MS;
  while (leftovers(former).length > 0 && performance.now() < deadline) {
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
  for (const child of leftovers(former)) Deno.kill(child.pid, "SIGKILL");
  while (leftovers(former).length > 0) {
    if (performance.now() > deadline + LEFTOVER_MS) {
      const [{ pid, name }] = leftovers(former);
      throw new Failure(`process ${pid} (${name}) of an earlier node does not end; end it first`);
    }
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}
