/** What the Workers of the pool rows run. */
import { spin } from "./pool_work.ts";

/** One task. */
export const spinTask = ({ index, turns }: { index: number; turns: number }) => spin(index, turns);

/** Next to nothing: the price of a node of a graph. */
export const nothing = () => {};
