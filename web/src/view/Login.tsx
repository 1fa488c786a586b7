// Asks for a token where the gateway wants one.

import { createEffect, createSignal } from 'solid-js';
import { giveToken, wanted } from '../token';

export function Login() {
  let dialog!: HTMLDialogElement;
  const [token, setToken] = createSignal('');

  createEffect(() => {
    if (wanted() !== undefined && !dialog.open) dialog.showModal();
    if (wanted() === undefined && dialog.open) dialog.close();
  });

  function submit(event: SubmitEvent) {
    event.preventDefault();
    if (token().trim() === '') return;
    giveToken(token());
    setToken('');
  }

  return (
    <dialog class="confirm login" ref={dialog} data-test="login" onCancel={(event) => event.preventDefault()}>
      <form class="confirm-body" onSubmit={submit}>
        <h3>Sign in</h3>
        <p data-test="login-why">{wanted()}</p>
        <input
          type="password"
          name="token"
          aria-label="Token"
          placeholder="Token"
          autocomplete="off"
          value={token()}
          onInput={(event) => setToken(event.currentTarget.value)}
        />
        <p>
          An operator makes one with <code>mesos token create --subject NAME --role operator</code>. It is kept in this
          tab only.
        </p>
        <div class="confirm-actions">
          <button type="submit" class="button">
            Sign in
          </button>
        </div>
      </form>
    </dialog>
  );
}
