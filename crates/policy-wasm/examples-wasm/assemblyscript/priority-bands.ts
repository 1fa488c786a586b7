// A policy in AssemblyScript: a higher priority goes first; within one priority the one with the smaller
// share per weight, and whoever wants nothing goes last of them.
//
// Build it with `npm ci && npm run build`.

const WAITING_SINCE_MS = 8;
const SHARE_PPB = 16;
const WEIGHT_MILLI = 32;
const PRIORITY = 40;

/** The place of a client in its band is below this. */
const BAND: i64 = 1 << 40;

/** Priorities beyond these count as these, so that the product stays within 64 bits. */
const PRIORITY_MAX: i64 = 1 << 20;

// The host writes here.
const view = memory.data(256, 8);

export function mesos_policy_abi(): i32 {
  return 1;
}

export function mesos_policy_view(): usize {
  return view;
}

export function mesos_policy_score(): i64 {
  const priority = min(max(load<i64>(view, PRIORITY), -PRIORITY_MAX), PRIORITY_MAX);
  const wanted = load<u64>(view, WAITING_SINCE_MS) != 0;
  const weight = max(load<u64>(view, WEIGHT_MILLI), 1);
  const share = load<u64>(view, SHARE_PPB);
  const place = min((share * 1000) / weight, <u64>BAND - 2);
  return -priority * BAND + (wanted ? <i64>place : BAND - 1);
}
