// A table that renders only the rows in sight, sorts by its headers, and is walked with the arrow keys.

import { createEffect, createMemo, createSignal, For, on, onCleanup, onMount, Show, type JSX } from 'solid-js';
import { nextSort, sortRows, type Direction, type Sort } from '../model/rows';

export interface Column<T> {
  key: string;
  label: string;
  /** A track of `grid-template-columns`, `120px` or `minmax(140px, 2fr)`. */
  width: string;
  align?: 'end';
  /** What to sort by; a column without it is not sortable. */
  value?: (row: T) => string | number | null | undefined;
  /** The direction of the first click; numbers and times usually start with the largest. */
  first?: Direction;
  cell: (row: T) => JSX.Element;
}

interface Props<T> {
  label: string;
  rows: readonly T[];
  rowKey: (row: T) => string;
  columns: Column<T>[];
  initialSort: Sort;
  rowHeight?: number;
  /** How many rows fit before the table scrolls inside itself; absent where it fills its panel. */
  maxRows?: number;
  selected?: string;
  onOpen?: (row: T) => void;
  empty: JSX.Element;
}

const HEAD_HEIGHT = 32;
const OVERSCAN = 6;
// As in styles.css.
const COLUMN_GAP = 14;
const ROW_PADDING = 14;

export function DataTable<T>(props: Props<T>) {
  let scroller!: HTMLDivElement;
  const [sort, setSort] = createSignal(props.initialSort);
  const [scrollTop, setScrollTop] = createSignal(0);
  const [height, setHeight] = createSignal(400);
  const [active, setActive] = createSignal<string>();
  const rowHeight = () => props.rowHeight ?? 34;

  const sorted = createMemo(() => {
    const { column, direction } = sort();
    const value = props.columns.find((candidate) => candidate.key === column)?.value;
    return value ? sortRows(props.rows, value, direction) : [...props.rows];
  });
  const first = createMemo(() => {
    const last = Math.max(0, sorted().length - Math.ceil(height() / rowHeight()));
    return Math.max(0, Math.min(last, Math.floor(scrollTop() / rowHeight())) - OVERSCAN);
  });
  const end = createMemo(() => Math.min(sorted().length, first() + Math.ceil(height() / rowHeight()) + 2 * OVERSCAN));
  const visible = createMemo(
    () =>
      new Map(
        sorted()
          .slice(first(), end())
          .map((row) => [props.rowKey(row), row]),
      ),
  );
  const visibleKeys = createMemo(() => [...visible().keys()]);

  onMount(() => {
    const observer = new ResizeObserver(() => setHeight(scroller.clientHeight));
    observer.observe(scroller);
    onCleanup(() => observer.disconnect());
  });
  createEffect(
    on(
      () => props.selected,
      (key) => key && setActive(key),
      { defer: false },
    ),
  );

  function move(target: number) {
    const index = Math.max(0, Math.min(sorted().length - 1, target));
    const row = sorted()[index];
    if (row === undefined) return;
    setActive(props.rowKey(row));
    const top = index * rowHeight();
    const room = scroller.clientHeight - HEAD_HEIGHT;
    if (top < scroller.scrollTop) scroller.scrollTop = top;
    else if (top + rowHeight() > scroller.scrollTop + room) scroller.scrollTop = top + rowHeight() - room;
  }

  function onKeyDown(event: KeyboardEvent) {
    if (event.target !== scroller || event.altKey || event.ctrlKey || event.metaKey) return;
    const current = sorted().findIndex((row) => props.rowKey(row) === active());
    const page = Math.max(1, Math.floor(scroller.clientHeight / rowHeight()) - 2);
    const targets: Record<string, number> = {
      ArrowDown: current + 1,
      ArrowUp: current < 0 ? 0 : current - 1,
      PageDown: current + page,
      PageUp: current - page,
      Home: 0,
      End: sorted().length - 1,
    };
    const target = targets[event.key];
    if (target !== undefined) {
      event.preventDefault();
      move(target);
    } else if (event.key === 'Enter' && current >= 0) {
      event.preventDefault();
      props.onOpen?.(sorted()[current]!);
    }
  }

  function onClick(event: MouseEvent, row: T) {
    setActive(props.rowKey(row));
    const onControl = (event.target as Element).closest('a, button');
    const selecting = !(getSelection()?.isCollapsed ?? true);
    if (!onControl && !selecting) props.onOpen?.(row);
  }

  const rowId = (key: string) => `${props.label}-row-${key}`;
  const template = () => props.columns.map((column) => column.width).join(' ');
  // Below the sum of what the columns need, the table scrolls sideways instead of cutting its last column.
  const minWidth = () =>
    props.columns.reduce((sum, column) => sum + leastWidth(column.width) + COLUMN_GAP, 2 * ROW_PADDING - COLUMN_GAP);
  const maxHeight = () => (props.maxRows ? `${HEAD_HEIGHT + props.maxRows * rowHeight() + 2}px` : undefined);
  const ariaSort = (column: Column<T>) => {
    if (!column.value) return undefined;
    if (sort().column !== column.key) return 'none' as const;
    return sort().direction === 'asc' ? ('ascending' as const) : ('descending' as const);
  };

  return (
    <div
      ref={scroller}
      class="table"
      role="grid"
      tabindex="0"
      aria-label={props.label}
      aria-rowcount={sorted().length + 1}
      aria-activedescendant={active() && visible().has(active()!) ? rowId(active()!) : undefined}
      style={{ 'max-height': maxHeight(), '--columns': template(), '--row-height': `${rowHeight()}px` }}
      onScroll={() => setScrollTop(scroller.scrollTop)}
      onKeyDown={onKeyDown}
    >
      <div class="table-inner" style={{ 'min-width': `${minWidth()}px` }}>
        <div class="table-head" role="row" aria-rowindex="1">
          <For each={props.columns}>
            {(column) => (
              <div role="columnheader" aria-sort={ariaSort(column)} classList={{ end: column.align === 'end' }}>
                <Show when={column.value} fallback={<span class="head-label">{column.label}</span>}>
                  <button
                    type="button"
                    class="head-label"
                    tabindex="-1"
                    onClick={() => setSort(nextSort(sort(), column.key, column.first ?? 'asc'))}
                  >
                    {column.label}
                    <i class="sort-mark" aria-hidden="true" />
                  </button>
                </Show>
              </div>
            )}
          </For>
        </div>
        <Show when={sorted().length > 0} fallback={props.empty}>
          <div class="table-body" style={{ height: `${sorted().length * rowHeight()}px` }}>
            <div class="table-window" style={{ transform: `translateY(${first() * rowHeight()}px)` }}>
              <For each={visibleKeys()}>
                {(key, index) => {
                  // A row that has just been removed keeps its last contents until it is taken away.
                  const row = createMemo<T>((last) => visible().get(key) ?? last, visible().get(key)!);
                  return (
                    <div
                      class="table-row"
                      role="row"
                      id={rowId(key)}
                      data-key={key}
                      aria-rowindex={first() + index() + 2}
                      aria-selected={props.selected === key}
                      classList={{ active: active() === key, selected: props.selected === key, opens: !!props.onOpen }}
                      onClick={(event) => onClick(event, row())}
                    >
                      <For each={props.columns}>
                        {(column) => (
                          <div role="gridcell" data-column={column.key} classList={{ end: column.align === 'end' }}>
                            {column.cell(row())}
                          </div>
                        )}
                      </For>
                    </div>
                  );
                }}
              </For>
            </div>
          </div>
        </Show>
      </div>
    </div>
  );
}

// The first number of a track: `120px` → 120, `minmax(140px, 2fr)` → 140.
function leastWidth(track: string): number {
  return Number(/[\d.]+/.exec(track)?.[0] ?? 0);
}
