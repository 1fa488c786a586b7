// The token that the page shows to the gateway, if the gateway wants one. It stays in this tab and never gets into an
// address.

import { createSignal } from 'solid-js';

const KEY = 'mesos-token';

/** Why a token is wanted, in the gateway's words; undefined while none is. */
const [wanted, setWanted] = createSignal<string | undefined>();
/** Counts the tokens that were given, so that whoever failed without one tries again. */
const [given, setGiven] = createSignal(0);

export { given, wanted };

export function authorization(): Record<string, string> {
  const token = sessionStorage.getItem(KEY);
  return token ? { Authorization: `Bearer ${token}` } : {};
}

export function giveToken(token: string): void {
  sessionStorage.setItem(KEY, token.trim());
  setWanted(undefined);
  setGiven((count) => count + 1);
}

/** The gateway refused: whatever token there is, it is not the right one. */
export function askForToken(why: string): void {
  setWanted(why);
}
