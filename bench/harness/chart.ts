/** Results as one SVG: a panel of bars for each quantity that a question draws, a panel of lines for its curves. No script, no font to load. */

import { formatNumber } from './report.ts';
import type { Result } from './result.ts';

const WIDTH = 480;
const MARGIN = 16;
const BAR_HEIGHT = 18;
const LABEL_WIDTH = 128;
const VALUE_WIDTH = 96;
const HEAD_HEIGHT = 30;
const LINES_HEIGHT = 220;
const COLUMNS = 2;
const OWN_COLOUR = '#c2410c';
const COLOURS: readonly string[] = ['#1d4ed8', '#0e7490', '#4d7c0f', '#7c3aed', '#be185d', '#a16207', '#475569', '#0f172a'];

interface Panel {
  readonly heightPx: number;
  readonly content: string;
}

/** Draws everything that `results` name as charts. */
export function drawChart(results: readonly Result[], title: string): string {
  const panels = results.flatMap((result) => [...result.charts.map((quantity) => drawBars(result, quantity)), ...drawCurves(result)]);
  const rows: Panel[][] = [];
  const drawn = panels.filter((panel) => panel !== undefined);
  for (let index = 0; index < drawn.length; index += COLUMNS) rows.push(drawn.slice(index, index + COLUMNS));
  let top = 40;
  const parts: string[] = [];
  for (const row of rows) {
    for (const [column, panel] of row.entries())
      parts.push(`<g transform="translate(${MARGIN + column * (WIDTH + MARGIN)} ${top})">${panel.content}</g>`);
    top += Math.max(...row.map(({ heightPx }) => heightPx)) + MARGIN;
  }
  const width = MARGIN + COLUMNS * (WIDTH + MARGIN);
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${top}" viewBox="0 0 ${width} ${top}" font-family="sans-serif" font-size="12">
<rect width="100%" height="100%" fill="#ffffff"/>
${text({ x: MARGIN, y: 24, size: 14, words: title })}
${parts.join('\n')}
</svg>
`;
}

function drawBars(result: Result, quantity: string): Panel | undefined {
  const rows = result.summaries.filter((summary) => summary.quantity === quantity);
  const greatest = Math.max(...rows.map(({ greatest: most }) => most));
  if (rows.length === 0 || !(greatest > 0)) return undefined;
  const scale = (WIDTH - LABEL_WIDTH - VALUE_WIDTH) / greatest;
  const bars = rows.map(({ system, median, least, greatest: most }, index) => {
    const y = HEAD_HEIGHT + index * BAR_HEIGHT;
    const middle = y + BAR_HEIGHT / 2 - 1;
    const colour = system === 'rawslice' ? OWN_COLOUR : '#94a3b8';
    return [
      text({ x: 0, y: y + 12, size: 12, words: system }),
      `<rect x="${LABEL_WIDTH}" y="${y}" width="${px(median * scale)}" height="${BAR_HEIGHT - 4}" fill="${colour}"/>`,
      `<line x1="${px(LABEL_WIDTH + least * scale)}" x2="${px(LABEL_WIDTH + most * scale)}" y1="${middle}" y2="${middle}" stroke="#0f172a"/>`,
      text({ x: px(LABEL_WIDTH + most * scale + 6), y: y + 12, size: 12, words: formatNumber(median) }),
    ].join('');
  });
  const head = text({ x: 0, y: 14, size: 13, words: `${result.id.toUpperCase()}: ${quantity}, ${rows[0]!.unit}` });
  return { heightPx: HEAD_HEIGHT + rows.length * BAR_HEIGHT, content: head + bars.join('') };
}

function drawCurves(result: Result): Panel[] {
  const quantities = [...new Set(result.curves.map(({ quantity }) => quantity))];
  return quantities.map((quantity) => {
    const curves = result.curves.filter((curve) => curve.quantity === quantity);
    const points = curves.flatMap((curve) => curve.points);
    const [xMax, yMax] = [Math.max(...points.map(([x]) => x)), Math.max(...points.map(([, y]) => y))];
    const place = ([x, y]: readonly [number, number]): string =>
      `${px(40 + (x / xMax) * (WIDTH - LABEL_WIDTH - 48))},${px(HEAD_HEIGHT + (1 - y / yMax) * LINES_HEIGHT)}`;
    const lines = curves.map(({ system, points: own }, index) => {
      const colour = system === 'rawslice' ? OWN_COLOUR : COLOURS[index % COLOURS.length];
      const line = `<polyline fill="none" stroke="${colour}" stroke-width="1.5" points="${own.map(place).join(' ')}"/>`;
      const y = HEAD_HEIGHT + 12 + index * BAR_HEIGHT;
      return `${line}<rect x="${WIDTH - LABEL_WIDTH}" y="${y - 8}" width="10" height="3" fill="${colour}"/>${text({ x: WIDTH - LABEL_WIDTH + 14, y: y - 3, size: 12, words: system })}`;
    });
    const axes = [0, 0.5, 1].map((share) => {
      const y = px(HEAD_HEIGHT + (1 - share) * LINES_HEIGHT);
      return `<line x1="40" x2="${WIDTH - LABEL_WIDTH - 8}" y1="${y}" y2="${y}" stroke="#e2e8f0"/>${text({ x: 0, y: y + 4, size: 11, words: formatNumber(share * yMax) })}`;
    });
    const foot = text({ x: WIDTH - LABEL_WIDTH - 60, y: HEAD_HEIGHT + LINES_HEIGHT + 14, size: 11, words: `${formatNumber(xMax)} s` });
    const head = text({ x: 0, y: 14, size: 13, words: `${result.id.toUpperCase()}: ${quantity}, ${curves[0]!.unit}` });
    return { heightPx: HEAD_HEIGHT + LINES_HEIGHT + 20, content: head + axes.join('') + lines.join('') + foot };
  });
}

function text({ x, y, size, words }: { readonly x: number; readonly y: number; readonly size: number; readonly words: string }): string {
  const safe = words.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
  return `<text x="${x}" y="${y}" font-size="${size}" fill="#0f172a">${safe}</text>`;
}

function px(value: number): number {
  return Math.round(value * 10) / 10;
}
