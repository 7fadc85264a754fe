/// <reference lib="dom" />
/** The two line charts. The words around them carry the same facts for whoever cannot see them. */
import {
  Chart,
  type ChartDataset,
  type ChartOptions,
  Filler,
  LinearScale,
  LineController,
  LineElement,
  PointElement,
  Tooltip,
} from "chart.js";
import { historyMs, type RatePoint } from "./rates.ts";

Chart.register(Filler, LinearScale, LineController, LineElement, PointElement, Tooltip);

/** How much the time axis shows: as little as holds every point, so that a young line is not tiny. */
const spans = [30_000, 90_000, historyMs];

/** One line of a chart. */
export interface Line {
  label: string;
  /** Custom property of the style sheet that holds its colour. */
  color: "--accent" | "--accent-2";
  dashed: boolean;
  value(point: RatePoint): number | null;
}

/** A chart that shows the last three minutes and can be told to draw them again. */
export interface LineChart {
  draw(points: RatePoint[]): void;
  /** Takes the colours of the style sheet over again. */
  recolor(): void;
}

/** Puts a chart into a canvas. */
export function lineChart(
  canvas: HTMLCanvasElement,
  lines: Line[],
  format: (value: number) => string,
): LineChart {
  const chart: TimeChart = new Chart<"line", { x: number; y: number }[]>(canvas, {
    type: "line",
    data: { datasets: lines.map((line) => dataset(line)) },
    options: {
      animation: false,
      responsive: true,
      maintainAspectRatio: false,
      normalized: true,
      parsing: false,
      events: ["mousemove", "mouseout", "touchstart", "touchmove"],
      interaction: { mode: "index", intersect: false, axis: "x" },
      layout: { padding: { right: 4, top: 4 } },
      scales: { x: timeAxis(), y: valueAxis(format) },
      plugins: {
        tooltip: {
          animation: false,
          displayColors: false,
          callbacks: {
            title: (items) => ago(items[0]?.parsed.x ?? 0),
            label: (item) => `${item.dataset.label}: ${format(item.parsed.y ?? 0)}`,
          },
        },
      },
    },
  });
  recolor(chart, lines);
  return {
    recolor: () => recolor(chart, lines),
    draw: (points) => draw(chart, lines, points),
  };
}

type TimeChart = Chart<"line", { x: number; y: number }[]>;
type Axis = NonNullable<ChartOptions<"line">["scales"]>["x"];

function timeAxis(): Axis {
  return {
    type: "linear",
    max: 0,
    border: { display: false },
    grid: { display: false },
    ticks: { maxRotation: 0, align: "inner", callback: (value) => tick(+value) },
  };
}

function valueAxis(format: (value: number) => string): Axis {
  return {
    type: "linear",
    min: 0,
    suggestedMax: 10,
    border: { display: false },
    ticks: { maxTicksLimit: 5, padding: 8, callback: (value) => round(format(+value)) },
  };
}

function draw(chart: TimeChart, lines: Line[], points: RatePoint[]): void {
  const newestAt = points.at(-1)?.at ?? 0;
  const spanMs = newestAt - (points[0]?.at ?? 0);
  const shownMs = spans.find((span) => spanMs <= span) ?? historyMs;
  const axis = chart.options.scales!.x!;
  Object.assign(axis, { min: -shownMs / 1_000 });
  Object.assign(axis.ticks!, { stepSize: shownMs / 3_000 });
  lines.forEach((line, index) => {
    // chart.js breaks a line at NaN, not at null, when it is told not to parse
    chart.data.datasets[index].data = points.map((point) => ({
      x: (point.at - newestAt) / 1_000,
      y: line.value(point) ?? NaN,
    }));
  });
  chart.update("none");
}

/** Takes colours and font from the style sheet: they change with the colour scheme. */
function recolor(chart: TimeChart, lines: Line[]): void {
  const style = getComputedStyle(document.body);
  const color = (name: string) => style.getPropertyValue(name).trim();
  const font = { family: style.fontFamily, size: 12 };
  for (const axis of Object.values(chart.options.scales!)) {
    Object.assign(axis!.ticks!, { color: color("--muted"), font });
    axis!.grid!.color = color("--grid");
  }
  Object.assign(chart.options.plugins!.tooltip!, {
    backgroundColor: color("--ink"),
    titleColor: color("--surface"),
    bodyColor: color("--surface"),
    titleFont: font,
    bodyFont: font,
  });
  lines.forEach((line, index) => {
    chart.data.datasets[index].borderColor = color(line.color);
    chart.data.datasets[index].backgroundColor = `${color(line.color)}1f`;
  });
  chart.update("none");
}

function dataset(line: Line): ChartDataset<"line", { x: number; y: number }[]> {
  return {
    label: line.label,
    data: [],
    borderWidth: 2,
    borderDash: line.dashed ? [6, 6] : [],
    borderJoinStyle: "round",
    pointRadius: 0,
    pointHitRadius: 12,
    pointHoverRadius: 3,
    fill: line.dashed ? false : "origin",
    order: line.dashed ? 0 : 1, // a dashed line on a solid one shows both
  };
}

function ago(value: number): string {
  return value > -0.5 ? "now" : `${tick(value)} ago`;
}

/** `50.0 MB` as `50 MB`: the marks of an axis are round numbers. */
function round(text: string): string {
  return text.replace(/\.0+(?=\D|$)/, "");
}

function tick(value: number): string {
  const seconds = Math.round(-value);
  if (seconds <= 0) return "now";
  return seconds % 60 === 0 ? `${seconds / 60} min` : `${seconds} s`;
}
