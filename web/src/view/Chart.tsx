// The last minutes of one resource: used, offered on top of it, total above.

import { createEffect, createSignal, For, on, onCleanup, onMount } from 'solid-js';
import uPlot from 'uplot';
import { formatClock, formatScalar } from '../model/format';
import { columns, spanMs, type Sample } from '../model/history';
import type { Scalar } from '../model/types';

interface Props {
  kind: Scalar;
  label: string;
  history: readonly Sample[];
  now: number;
}

const PARTS = ['used', 'offered', 'total'] as const;
const HEIGHT = 176;

export function Chart(props: Props) {
  let box!: HTMLDivElement;
  let plot: uPlot | undefined;
  const [hovered, setHovered] = createSignal<number | null>(null);

  // The sample under the pointer, or the newest.
  const shown = () => props.history[hovered() ?? -1] ?? props.history.at(-1);

  const minutes = () => Math.ceil(spanMs(props.history, props.now) / 60_000);

  function draw() {
    plot?.destroy();
    plot = new uPlot(options(props, box.clientWidth, setHovered), data(props), box);
  }

  onMount(() => {
    draw();
    const observer = new ResizeObserver(() => plot?.setSize({ width: box.clientWidth, height: HEIGHT }));
    observer.observe(box);
    const scheme = matchMedia('(prefers-color-scheme: dark)');
    scheme.addEventListener('change', draw);
    onCleanup(() => {
      observer.disconnect();
      scheme.removeEventListener('change', draw);
      plot?.destroy();
    });
  });
  createEffect(on(() => props.kind, draw, { defer: true }));
  createEffect(
    on(
      () => [props.history, props.now],
      () => plot?.setData(data(props)),
      { defer: true },
    ),
  );

  return (
    <div class="chart">
      <div class="chart-head">
        <span class="chart-title">
          {props.label}, last {minutes() === 1 ? 'minute' : `${minutes()} minutes`}
        </span>
        <span class="chart-legend">
          <For each={PARTS}>
            {(part) => (
              <span>
                <i class={`key key-${part}`} />
                {part} <b>{shown() ? formatScalar(props.kind, shown()![part][props.kind]) : '–'}</b>
              </span>
            )}
          </For>
          <time class="faint">{shown() ? formatClock(shown()!.time_ms) : ''}</time>
        </span>
      </div>
      <div
        ref={box}
        class="chart-box"
        role="img"
        aria-label={`${props.label} used, offered and total over the last minutes`}
      />
    </div>
  );
}

// What is drawn later lies above: the line of what is used must be seen where nothing is offered on top of it.
function data(props: Props): uPlot.AlignedData {
  const [times, used, offered, total] = columns(props.history, props.kind);
  return [times, total, offered, used];
}

function options(props: Props, width: number, onHover: (index: number | null) => void): uPlot.Options {
  const style = getComputedStyle(document.documentElement);
  const color = (name: string) => style.getPropertyValue(name).trim();
  const axis = { stroke: color('--muted'), font: `11px ${color('--sans')}`, ticks: { show: false } };
  const grid = { stroke: color('--grid'), width: 1 };
  return {
    width: Math.max(width, 100),
    height: HEIGHT,
    padding: [8, 26, 0, 0],
    legend: { show: false },
    cursor: { y: false, drag: { x: false, y: false }, points: { size: 6 } },
    scales: {
      x: { time: true, range: () => [(props.now - spanMs(props.history, props.now)) / 1000, props.now / 1000] },
      y: { range: (_plot, _min, max) => [0, (max || 1) * 1.08] },
    },
    axes: [
      {
        ...axis,
        grid: { show: false },
        space: 90,
        size: 26,
        values: (_plot, splits) => splits.map((second) => formatClock(second * 1000)),
        incrs: [10, 15, 30, 60],
      },
      {
        ...axis,
        grid,
        size: 64,
        space: 36,
        values: (_plot, splits) => splits.map((value) => formatScalar(props.kind, value)),
      },
    ],
    series: [
      {},
      { stroke: color('--total'), width: 1, dash: [4, 4], points: { show: false } },
      { stroke: color('--offered'), width: 1.5, points: { show: false } },
      { stroke: color('--used'), fill: color('--used-fill'), width: 1.5, points: { show: false } },
    ],
    bands: [{ series: [2, 3], fill: color('--offered-fill') }],
    hooks: { setCursor: [(plot) => onHover(plot.cursor.idx ?? null)] },
  };
}
