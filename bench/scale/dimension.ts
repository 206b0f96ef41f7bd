/** One thing that there can be more of, and what more of it costs. */
import { Bus } from "../../src/bus/connection.ts";
import { ensureTopology } from "../../src/bus/topology.ts";
import { type NatsServer, useServer } from "../contenders/nats.ts";
import type { Machine } from "../machine.ts";
import type { Progress } from "../progress.ts";
import type { Scope } from "../scope.ts";
import type { Cell, Table } from "../table.ts";
import { growthOf, LINEAR_LIMIT, verdictOf } from "./growth.ts";
import type { Plot, Series } from "./plot.ts";

export interface ScaleContext {
  /** A few hundred jobs, to see that everything works; the figures say nothing. */
  quick: boolean;
  progress: Progress;
  /** Whatever is opened is closed by it. */
  scope: Scope;
}

export interface Findings {
  tables: Table[];
  plots: Plot[];
}

/** What is kept of a measurement. */
export interface DimensionResult extends Findings {
  name: string;
  question: string;
  date: string;
  seconds: number;
  /** Figures of this kind say nothing. */
  quick: boolean;
  machine: Machine;
}

export interface Dimension {
  readonly name: string;
  /** What is asked, in one line. */
  readonly question: string;
  /** @throws WrongResults if what was measured is worth nothing */
  measure(context: ScaleContext): Promise<Findings>;
}

/** A server of the dimension's own, with the streams that are there before any contender starts. */
export async function startServer({ scope }: Pick<ScaleContext, "scope">): Promise<NatsServer> {
  const server = await useServer(undefined);
  await scope.add(() => server.close());
  const bus = await Bus.open({ url: server.url, name: "bench" });
  try {
    await ensureTopology(bus);
  } finally {
    await bus.close();
  }
  return server;
}

/** The cost of one more, times how many there are. */
export function totalOf({ name, points }: Series): Series {
  return { name, points: points.map(([x, y]) => [x, x * y]) };
}

/** `of` says what grows with what. */
export function growthTable(of: string, series: readonly Series[]): Table {
  return {
    title: `growth: ${of}`,
    columns: [
      { key: "series", title: "" },
      { key: "exponent", title: "exponent", digits: 2 },
      { key: "error", title: "+/-", digits: 2 },
      { key: "last", title: "at the end", digits: 2 },
      { key: "points", title: "points" },
      { key: "verdict", title: "grows" },
    ],
    rows: series.map(({ name, points }): Record<string, Cell> => {
      const growth = growthOf(points);
      return { series: name, ...growth, verdict: verdictOf(growth) };
    }),
    notes: [
      "slope in log-log over the upper half of the range, by least squares (see bench/scale/growth.ts), its standard error,",
      `and the slope between the last two points; faster than linearly is what is beyond ${LINEAR_LIMIT} by more than its error`,
    ],
  };
}
