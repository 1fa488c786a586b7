// The calls that the page makes besides the event stream. Addresses are relative, so a proxy path in front is no matter.

import { askForToken, authorization } from './token';
import type { Explanation, FileChunk, Role, Task } from './model/types';

export type Stream = 'stdout' | 'stderr';

/** What the gateway refused, in its own words; `status` is 0 where no answer came. */
export class ApiError extends Error {
  constructor(
    message: string,
    readonly status: number,
  ) {
    super(message);
  }
}

export function apiUrl(path: string): string {
  return new URL(`v1/${path}`, document.baseURI.split('#')[0]).href;
}

export function taskPath(frameworkId: string, taskId: string): string {
  return `tasks/${encodeURIComponent(frameworkId)}/${encodeURIComponent(taskId)}`;
}

export function fetchTask(frameworkId: string, taskId: string): Promise<Task> {
  return call<Task>('GET', taskPath(frameworkId, taskId));
}

/** Resolves once the gateway took the kill; the task's end comes over the stream. */
export async function killTask(frameworkId: string, taskId: string): Promise<void> {
  await call<unknown>('DELETE', taskPath(frameworkId, taskId));
}

export function readFile(
  frameworkId: string,
  taskId: string,
  name: Stream,
  offset: number,
  length: number,
): Promise<FileChunk> {
  return call<FileChunk>('GET', `${taskPath(frameworkId, taskId)}/files/${name}?offset=${offset}&length=${length}`);
}

/** Roles that somebody is in or that something is set for. What is 0 or empty is left out of the answer. */
export async function fetchRoles(): Promise<Role[]> {
  return (await call<{ roles?: Role[] }>('GET', 'roles')).roles ?? [];
}

/** Why a role gets nothing more, and what would help. */
export function explainRole(role: string): Promise<Explanation> {
  return call<Explanation>('POST', 'explain', { role });
}

async function call<T>(method: string, path: string, content?: unknown): Promise<T> {
  let response: Response;
  try {
    response = await fetch(apiUrl(path), {
      method,
      headers: { Accept: 'application/json', ...authorization(), ...(content ? { 'Content-Type': 'application/json' } : {}) },
      body: content ? JSON.stringify(content) : undefined,
    });
  } catch {
    throw new ApiError('The gateway does not answer.', 0);
  }
  const body = await response.text();
  if (!response.ok) {
    const why = errorMessage(body) ?? `${response.status} ${response.statusText}`;
    if (response.status === 401) askForToken(why);
    throw new ApiError(why, response.status);
  }
  return (body === '' ? {} : JSON.parse(body)) as T;
}

export function errorMessage(body: string): string | undefined {
  try {
    const message: unknown = JSON.parse(body)?.error?.message;
    return typeof message === 'string' && message !== '' ? message : undefined;
  } catch {
    return body.length > 0 && body.length < 300 && !body.includes('<') ? body.trim() : undefined;
  }
}
