import { createSignal, For } from 'solid-js';

export type ToastTone = 'good' | 'bad';
interface Toast {
  id: number;
  tone: ToastTone;
  text: string;
}

const GOOD_MS = 5_000;
const BAD_MS = 12_000;

export interface ToastList {
  add: (tone: ToastTone, text: string) => void;
  dismiss: (id: number) => void;
  list: () => readonly Toast[];
}

/** Short results of what one did; they go by themselves, failures later. */
export function createToasts(): ToastList {
  const [list, setList] = createSignal<readonly Toast[]>([]);
  let last = 0;
  const dismiss = (id: number) => setList((old) => old.filter((toast) => toast.id !== id));
  return {
    list,
    dismiss,
    add(tone, text) {
      const id = ++last;
      setList((old) => [...old, { id, tone, text }]);
      setTimeout(() => dismiss(id), tone === 'good' ? GOOD_MS : BAD_MS);
    },
  };
}

export function Toasts(props: { toasts: ToastList }) {
  return (
    <div class="toasts" role="status" aria-live="polite">
      <For each={props.toasts.list()}>
        {(toast) => (
          <div class={`toast tone-${toast.tone}`}>
            <i class="mark" aria-hidden="true" />
            <span>{toast.text}</span>
            <button
              type="button"
              class="icon-button"
              aria-label="Dismiss"
              onClick={() => props.toasts.dismiss(toast.id)}
            >
              ×
            </button>
          </div>
        )}
      </For>
    </div>
  );
}
