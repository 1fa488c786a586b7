import { createSignal, For, onCleanup, onMount, Show } from 'solid-js';
import { ApiError, explainRole, fetchRoles } from '../api';
import { count, formatAmounts, formatNumber, formatPercent } from '../model/format';
import type { Explanation, Role } from '../model/types';
import { Empty, Section } from './bits';
import { DataTable, type Column } from './DataTable';
import type { ToastList } from './Toasts';

// What is set for roles is the allocator's and not in the event stream, so it is asked for as long as one looks.
const EVERY_MS = 3000;

/** Who shares the cluster, by which weights and within which bounds. A row is explained when it is opened. */
export function Roles(props: { toast: ToastList['add'] }) {
  const [roles, setRoles] = createSignal<Role[]>([]);
  const [trouble, setTrouble] = createSignal('');
  const [explained, setExplained] = createSignal<Explanation>();
  let gone = false;
  let timer: ReturnType<typeof setTimeout> | undefined;

  async function follow() {
    try {
      setRoles(await fetchRoles());
      setTrouble('');
    } catch (error) {
      setTrouble(error instanceof ApiError ? error.message : String(error));
    }
    if (!gone) timer = setTimeout(follow, EVERY_MS);
  }
  onMount(() => void follow());
  onCleanup(() => {
    gone = true;
    clearTimeout(timer);
  });

  async function explain(role: Role) {
    try {
      setExplained(await explainRole(role.role));
    } catch (error) {
      props.toast('bad', error instanceof ApiError ? error.message : String(error));
    }
  }

  const amounts = (key: 'guarantee' | 'limit' | 'consumed' | 'reserved', label: string): Column<Role> => ({
    key,
    label,
    width: 'minmax(110px, 1.4fr)',
    cell: (role) => <span title={formatAmounts(role[key])}>{formatAmounts(role[key])}</span>,
  });
  const columns: Column<Role>[] = [
    {
      key: 'role',
      label: 'Role',
      width: 'minmax(92px, 1.2fr)',
      value: (role) => role.role,
      cell: (role) => <span title={role.role}>{role.role}</span>,
    },
    {
      key: 'weight',
      label: 'Weight',
      width: '64px',
      align: 'end',
      first: 'desc',
      value: (role) => role.weight ?? 1,
      cell: (role) => formatNumber(role.weight ?? 1),
    },
    amounts('guarantee', 'Guarantee'),
    amounts('limit', 'Limit'),
    amounts('consumed', 'Consumed'),
    amounts('reserved', 'Reserved'),
    {
      key: 'frameworks',
      label: 'Frameworks',
      width: '88px',
      align: 'end',
      first: 'desc',
      value: (role) => role.framework_ids?.length ?? 0,
      cell: (role) => role.framework_ids?.length ?? 0,
    },
    {
      key: 'share',
      label: 'Share',
      width: '112px',
      first: 'desc',
      value: (role) => role.share ?? 0,
      cell: (role) => (
        <span class="share">
          <span class="meter" aria-hidden="true">
            <span class="meter-used" style={{ width: `${(role.share ?? 0) * 100}%` }} />
          </span>
          <span class="share-text">{formatPercent(role.share ?? 0)}</span>
        </span>
      ),
    },
    {
      key: 'explain',
      label: '',
      width: '74px',
      cell: (role) => (
        <button type="button" class="button" tabindex="-1" onClick={() => void explain(role)}>
          Explain
        </button>
      ),
    },
  ];

  return (
    <>
      <Section id="roles" title="Roles" aside={trouble() || count(roles().length, 'role')} fill>
        <DataTable
          label="Roles"
          rows={roles()}
          rowKey={(role) => role.role}
          columns={columns}
          initialSort={{ column: 'share', direction: 'desc' }}
          onOpen={(role) => void explain(role)}
          empty={<Empty title="Nobody is in a role yet." />}
        />
      </Section>
      <Show when={explained()} keyed>
        {(explanation) => <Why explanation={explanation} />}
      </Show>
    </>
  );
}

function Why(props: { explanation: Explanation }) {
  const on = (agents: number | undefined) => (agents ? `on ${count(agents, 'agent')}: ` : '');
  return (
    <Section id="explanation" title={`Role ${props.explanation.role}`}>
      <div class="explanation" data-test="explanation">
        <p>{props.explanation.summary}</p>
        <Show when={props.explanation.blockers?.length}>
          <ul>
            <For each={props.explanation.blockers}>
              {(blocker) => <li>{on(blocker.agents) + (blocker.detail ?? blocker.why)}</li>}
            </For>
          </ul>
        </Show>
        <Show when={props.explanation.remedies?.length}>
          <p>Any of these would place it:</p>
          <ul>
            <For each={props.explanation.remedies}>{(remedy) => <li>{remedy.text}</li>}</For>
          </ul>
        </Show>
      </div>
    </Section>
  );
}
