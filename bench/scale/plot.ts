/** A log-log plot as SVG: several series with a legend, readable in light and dark, in a page or as a picture. */
import { type Axis, logAxis, tickLabel } from "./axis.ts";
import type { Point } from "./growth.ts";

export interface Series {
  name: string;
  points: Point[];
}

export interface Plot {
  /** Name of the file, without its ending. */
  file: string;
  title: string;
  xTitle: string;
  yTitle: string;
  series: Series[];
}

const WIDTH = 720;
const HEIGHT = 460;
const MARGIN = { top: 88, right: 24, bottom: 56, left: 72 };
const LEGEND = { top: 50, row: 20, sample: 30, gap: 6, between: 24, character: 6.5 };
/** Told apart by those who see no colours by their dashes. */
const DASHES = ["", "7 4", "2 3", "10 3 2 3", "14 4", "4 2"];
/** Of a colour in the middle of the scale of brightness, so that they are seen on both backgrounds (Okabe and Ito). */
const COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];

const STYLE = `
  text { font: 12px system-ui, sans-serif; fill: #24292f; }
  .title { font-size: 15px; font-weight: 600; }
  .background { fill: #ffffff; }
  .grid { stroke: #d0d7de; stroke-width: 1; }
  .frame { fill: none; stroke: #6e7781; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; }
    .background { fill: #0d1117; }
    .grid { stroke: #30363d; }
    .frame { stroke: #8b949e; }
  }
`;

/** Points that cannot be drawn to log scales are left out. */
export function renderPlot({ title, xTitle, yTitle, series }: Plot): string {
  const drawn = series.map(({ name, points }) => ({ name, points: points.filter(([x, y]) => x > 0 && y > 0) }));
  const all = drawn.flatMap(({ points }) => points);
  const xAxis = logAxis(all.map(([x]) => x));
  const yAxis = logAxis(all.map(([, y]) => y));
  const place: Place = ([x, y]) => [xOf(xAxis, x), yOf(yAxis, y)];
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" width="${WIDTH}" height="${HEIGHT}" role="img">`,
    `<title>${escaped(title)}</title>`,
    `<style>${STYLE}</style>`,
    `<rect class="background" width="${WIDTH}" height="${HEIGHT}"/>`,
    text(MARGIN.left, 26, title, 'class="title"'),
    ...xAxis.ticks.flatMap((tick) => xTick(xOf(xAxis, tick), tickLabel(tick))),
    ...yAxis.ticks.flatMap((tick) => yTick(yOf(yAxis, tick), tickLabel(tick))),
    frame(),
    text((MARGIN.left + WIDTH - MARGIN.right) / 2, HEIGHT - 14, xTitle, 'text-anchor="middle"'),
    text(
      0,
      0,
      yTitle,
      `text-anchor="middle" transform="translate(18 ${(MARGIN.top + HEIGHT - MARGIN.bottom) / 2}) rotate(-90)"`,
    ),
    ...legend(drawn.map(({ name }) => name)),
    ...drawn.flatMap(({ points }, index) => curve(points.map(place), index)),
    "</svg>",
    "",
  ].join("\n");
}

type Place = (point: Point) => Point;

function xOf(axis: Axis, value: number): number {
  return MARGIN.left + axis.position(value) * (WIDTH - MARGIN.left - MARGIN.right);
}

function yOf(axis: Axis, value: number): number {
  return HEIGHT - MARGIN.bottom - axis.position(value) * (HEIGHT - MARGIN.top - MARGIN.bottom);
}

function xTick(x: number, label: string): string[] {
  return [
    line([x, MARGIN.top], [x, HEIGHT - MARGIN.bottom], 'class="grid"'),
    text(x, HEIGHT - MARGIN.bottom + 18, label, 'text-anchor="middle"'),
  ];
}

function yTick(y: number, label: string): string[] {
  return [
    line([MARGIN.left, y], [WIDTH - MARGIN.right, y], 'class="grid"'),
    text(MARGIN.left - 8, y + 4, label, 'text-anchor="end"'),
  ];
}

function frame(): string {
  const width = WIDTH - MARGIN.left - MARGIN.right;
  const height = HEIGHT - MARGIN.top - MARGIN.bottom;
  return `<rect class="frame" x="${MARGIN.left}" y="${MARGIN.top}" width="${width}" height="${height}"/>`;
}

/** In rows, as many as it takes. */
function legend(names: readonly string[]): string[] {
  let [x, y] = [MARGIN.left, LEGEND.top];
  return names.flatMap((name, index) => {
    const width = LEGEND.sample + LEGEND.gap + name.length * LEGEND.character;
    if (x > MARGIN.left && x + width > WIDTH - MARGIN.right) [x, y] = [MARGIN.left, y + LEGEND.row];
    const left = x;
    x += width + LEGEND.between;
    return [
      line([left, y], [left + LEGEND.sample, y], stroke(index)),
      dot([left + LEGEND.sample / 2, y], index),
      text(left + LEGEND.sample + LEGEND.gap, y + 4, name),
    ];
  });
}

function curve(points: readonly Point[], index: number): string[] {
  const corners = points.map(([x, y]) => `${short(x)},${short(y)}`).join(" ");
  return [`<polyline fill="none" points="${corners}" ${stroke(index)}/>`, ...points.map((point) => dot(point, index))];
}

function stroke(index: number): string {
  const dashes = DASHES[index % DASHES.length];
  return `stroke="${colour(index)}" stroke-width="2"${dashes ? ` stroke-dasharray="${dashes}"` : ""}`;
}

function dot([x, y]: Point, index: number): string {
  return `<circle cx="${short(x)}" cy="${short(y)}" r="3.5" fill="${colour(index)}"/>`;
}

function colour(index: number): string | undefined {
  return COLOURS[index % COLOURS.length];
}

function line([x1, y1]: Point, [x2, y2]: Point, attributes: string): string {
  return `<line x1="${short(x1)}" y1="${short(y1)}" x2="${short(x2)}" y2="${short(y2)}" ${attributes}/>`;
}

function text(x: number, y: number, content: string, attributes = ""): string {
  return `<text x="${short(x)}" y="${short(y)}"${attributes && ` ${attributes}`}>${escaped(content)}</text>`;
}

function short(value: number): string {
  return String(Math.round(value * 10) / 10);
}

function escaped(content: string): string {
  return content.replace(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`);
}
