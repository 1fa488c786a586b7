// Drives the page in a real Chromium: against the made-up cluster of mock.mjs, or against a running one.
//   node test/page.mjs [--screenshots DIR]
//   node test/page.mjs --url http://127.0.0.1:5050        (or MESOS_UI_URL)
// A running cluster needs a task named `ui-probe` that writes a line to stdout about every second, such as
//   mesos spawn --name ui-probe --command 'while true; do date; sleep 1; done'
// The script waits for it, reads its log, and kills it. CHROMIUM names another browser than /usr/bin/chromium.
import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { chromium } from 'playwright-core';
import { startMock } from './mock.mjs';

const WAIT_MS = 20_000;
const option = (name) => (process.argv.includes(name) ? process.argv[process.argv.indexOf(name) + 1] : undefined);
const target = option('--url') ?? process.env.MESOS_UI_URL;
const screenshots = option('--screenshots');
const mock = target ? null : await startMock();
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium' });
const context = await browser.newContext({ viewport: { width: 1480, height: 1000 }, colorScheme: 'light' });
context.setDefaultTimeout(WAIT_MS);
const page = await context.newPage();
const complaints = watch(page);

try {
  await page.goto(target ?? mock.url);
  await step('the sections show and the stream is live', sectionsShow);
  await step('the chart has been drawn', chartIsDrawn);
  await step('the task named ui-probe is found by the filter', findProbe);
  if (mock) await step('a delta changes the row of a task', deltaChangesRow);
  if (mock) await step('thousands of rows keep few elements and scroll to the end', rowsAreWindowed);
  if (mock) await step('state chips and headers filter and sort', chipsAndSorting);
  if (mock) await step('the keyboard opens and closes a task', keyboardWorks);
  await step('a task opens by its address and shows its facts', drawerShows);
  await step('its log shows and is followed', logFollows);
  await step('dark mode changes the page and the chart', darkMode);
  if (mock) await step('each section has a view of its own', viewsShow);
  if (mock) await step('a role is explained', roleExplained);
  if (mock) await step('a refused kill is told', refusedKill);
  await step('a kill asks, is sent and ends the task', killWorks);
  if (mock) await step('a cut stream comes back by itself', streamReturns);
  if (mock) await step('an empty cluster says what to do next', emptyCluster);
  await step('a gateway that wants a token gets one', tokenAsked);
  await step('the browser had nothing to complain about', async () => assert.deepEqual(complaints, []));
  console.log('page: all steps passed');
} catch (error) {
  await shot('failure').catch(() => undefined);
  console.error(error);
  process.exitCode = 1;
} finally {
  await browser.close();
  await mock?.close();
}

async function sectionsShow() {
  await page.locator('[data-test=connection].is-live').waitFor();
  for (const title of ['Agents', 'Frameworks', 'Tasks'])
    await page.getByRole('heading', { name: title, exact: true }).waitFor();
  assert.notEqual((await page.locator('[data-test=cluster-name]').innerText()).trim(), '');
  assert.equal(await page.locator('.tile').count(), 4);
  assert.match(await page.locator('.tile[data-resource=cpus]').innerText(), /\d.* total/s);
  for (const table of ['Agents', 'Frameworks', 'Tasks']) await rows(table).first().waitFor();
  if (mock) assert.equal(await rows('Agents').count(), 12);
}

async function chartIsDrawn() {
  await page.waitForFunction(inkInChart, undefined, { polling: 200 });
  await page.locator('.tile[data-resource=mem]').click();
  await page.getByText(/^Memory, last/).waitFor();
  await page.waitForFunction(inkInChart, undefined, { polling: 200 });
  await page.locator('.tile[data-resource=cpus]').click();
}

// Runs in the page: besides the grid, the line of what is used has been drawn; of all parts only that one is blue.
function inkInChart() {
  const canvas = document.querySelector('.chart canvas');
  const pixels = canvas?.getContext('2d')?.getImageData(0, 0, canvas.width, canvas.height).data ?? [];
  let ink = 0;
  let blue = 0;
  for (let i = 0; i < pixels.length; i += 4) {
    if (pixels[i + 3] > 0) ink += 1;
    if (pixels[i + 3] > 60 && pixels[i + 2] - pixels[i] > 60) blue += 1;
  }
  return ink > 1000 && blue > 10;
}

async function findProbe() {
  if (mock) await page.waitForTimeout(4000).then(() => shot('overview-light'));
  await page.keyboard.press('/');
  await page.keyboard.type('name:ui-probe state:running');
  await probeRow().waitFor();
  assert.match(await probeRow().innerText(), /Running/);
  assert.match(page.url(), /q=name%3Aui-probe/);
  await page.keyboard.press('Escape');
}

async function deltaChangesRow() {
  await filter('state:running name:orders');
  const key = await rows('Tasks').first().getAttribute('data-key');
  await filter(`id:${key.split('/')[1]}`);
  await row(key).getByText('Running').waitFor();
  mock.finish(key);
  await row(key).getByText('Finished', { exact: true }).waitFor();
  assert.match(await row(key).innerText(), /status 0/);
}

async function rowsAreWindowed() {
  await filter('');
  const table = page.getByRole('grid', { name: 'Tasks' });
  const total = Number(await table.getAttribute('aria-rowcount'));
  assert.ok(total > 2500, `${total} rows`);
  assert.ok((await rows('Tasks').count()) < 60);
  await table.evaluate((element) => (element.scrollTop = element.scrollHeight));
  await page.waitForFunction(
    () => {
      const grid = document.querySelector('[role=grid][aria-label=Tasks]');
      return (
        [...grid.querySelectorAll('.table-row')].at(-1)?.getAttribute('aria-rowindex') ===
        grid.getAttribute('aria-rowcount')
      );
    },
    undefined,
    { polling: 50 },
  );
  await table.evaluate((element) => (element.scrollTop = 0));
}

async function chipsAndSorting() {
  await page.locator('.chip[data-state=TASK_FAILED]').click();
  await page.waitForFunction(() =>
    [...document.querySelectorAll('#tasks .table-row .badge')].every((badge) => badge.title === 'TASK_FAILED'),
  );
  await page.locator('#tasks').getByRole('button', { name: 'Name', exact: true }).click();
  const names = await page.locator('#tasks [role=gridcell][data-column=name]').allInnerTexts();
  assert.deepEqual(names, [...names].sort(new Intl.Collator('en', { numeric: true }).compare));
  await page.locator('.chip').first().click();
  await page.locator('#tasks').getByRole('button', { name: 'Age', exact: true }).click();
}

async function keyboardWorks() {
  await filter('name:ui-probe');
  await probeRow().waitFor();
  await page.getByRole('grid', { name: 'Tasks' }).focus();
  await page.keyboard.press('ArrowDown');
  await page.keyboard.press('Enter');
  await page.locator('[data-test=drawer]').waitFor();
  await page.keyboard.press('Escape');
  await page.locator('[data-test=drawer]').waitFor({ state: 'detached' });
  assert.equal(await page.evaluate(() => document.activeElement?.getAttribute('aria-label')), 'Tasks');
}

async function drawerShows() {
  await filter('name:ui-probe state:running');
  const key = await probeRow().getAttribute('data-key');
  const [framework, ...task] = key.split('/');
  await page.goto(
    `${new URL(page.url()).origin}/#/tasks/${encodeURIComponent(framework)}/${encodeURIComponent(task.join('/'))}`,
  );
  await page.reload();
  const drawer = page.locator('[data-test=drawer]');
  await drawer.getByRole('heading', { name: 'ui-probe' }).waitFor();
  await drawer.locator('.history li').first().waitFor();
  assert.match(await drawer.locator('.facts').innerText(), /Framework[\s\S]*Resources/);
  assert.match(await drawer.locator('.history').innerText(), /Running/);
}

async function logFollows() {
  const log = page.locator('#log-text');
  await page.waitForFunction(() => document.querySelector('#log-text').textContent.trim().length > 0);
  const before = (await log.textContent()).length;
  await page.waitForFunction((length) => document.querySelector('#log-text').textContent.length > length, before);
  const distance = await log.evaluate((element) => element.scrollHeight - element.scrollTop - element.clientHeight);
  assert.ok(distance < 5, `follow mode is ${distance} pixels away from the end`);
  const [download] = await Promise.all([page.waitForEvent('download'), page.locator('[data-test=download]').click()]);
  assert.match(download.suggestedFilename(), /stdout\.log$/);
  await shot('drawer-light');
  await page.getByRole('tab', { name: 'stderr' }).click();
  if (mock) await page.waitForFunction(() => document.querySelector('#log-text').textContent.includes('slow answer'));
  else await page.waitForFunction(() => /\d+ B|KB|MB/.test(document.querySelector('.logs-size').textContent));
  await page.getByRole('tab', { name: 'stdout' }).click();
}

async function darkMode() {
  const background = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const light = await background();
  await page.emulateMedia({ colorScheme: 'dark' });
  assert.notEqual(await background(), light);
  await shot('drawer-dark');
  await page.goto(`${new URL(page.url()).origin}/#/`);
  await page.waitForFunction(inkInChart, undefined, { polling: 200 });
  if (mock) await page.waitForTimeout(3000);
  await shot('overview-dark');
  await page.emulateMedia({ colorScheme: 'light' });
}

async function viewsShow() {
  for (const view of ['agents', 'frameworks', 'roles', 'tasks']) {
    await page.goto(`${mock.url}/#/${view}`);
    await page.locator('main.single .table-row').first().waitFor();
    await shot(`view-${view}`);
  }
}

async function roleExplained() {
  await page.goto(`${mock.url}/#/roles`);
  await rows('Roles').filter({ hasText: 'ads' }).getByRole('button', { name: 'Explain' }).click();
  await page.locator('[data-test=explanation]').getByText('on 12 agents: the limit of ads is 8 cpus').waitFor();
  await shot('role-explained');
}

async function refusedKill() {
  await openTask('immortal');
  await confirmKill();
  await page.locator('.toast.tone-bad').getByText('said no').waitFor();
  await page.keyboard.press('Escape');
}

async function killWorks() {
  await openTask('ui-probe');
  await page.locator('[data-test=kill]').click();
  await page.locator('dialog[open]').waitFor();
  await shot('confirm');
  await page.keyboard.press('Escape');
  await page.locator('dialog[open]').waitFor({ state: 'hidden' });
  if (mock)
    assert.ok(!mock.requests.some((request) => /^DELETE .*ui-probe/.test(request)), 'cancelled means nothing was sent');
  await confirmKill();
  await page.locator('.toast.tone-good').waitFor();
  if (mock) assert.ok(mock.requests.some((request) => /^DELETE \/v1\/tasks\/.*\/ui-probe/.test(request)));
  await page.locator('[data-test=drawer] .drawer-head .badge[title=TASK_KILLED]').waitFor();
  assert.equal(await page.locator('[data-test=kill]').count(), 0);
  assert.match(await page.locator('.history').innerText(), /Killed/);
  await shot('killed');
}

async function streamReturns() {
  await page.goto(`${mock.url}/#/`);
  const opened = mock.requests.filter((request) => request === 'GET /v1/events').length;
  mock.dropStreams();
  await page.locator('[data-test=connection].is-reconnecting').waitFor();
  await page.locator('[data-test=connection].is-live').waitFor();
  assert.ok(mock.requests.filter((request) => request === 'GET /v1/events').length > opened);
  complaints.splice(
    0,
    complaints.length,
    ...complaints.filter((text) => !/ERR_(INCOMPLETE_CHUNKED|EMPTY|CONNECTION)/.test(text)),
  );
}

async function emptyCluster() {
  const bare = await startMock({ empty: true });
  const other = await context.newPage();
  const theirs = watch(other);
  try {
    await other.goto(bare.url);
    await other.getByText('mesos launch --command "echo hello"').first().waitFor();
    await other.getByText('No agents yet.').waitFor();
    if (screenshots) await other.screenshot({ path: join(screenshots, 'empty.png') });
    await other.goto(`${bare.url}/#/tasks/nobody/nothing`);
    await other.getByText('does not know this task').waitFor();
    assert.deepEqual(
      theirs.filter((text) => !text.includes('404')),
      [],
    );
  } finally {
    await other.close();
    await bare.close();
  }
}

// Against a cluster of its own, or against the gateway of MESOS_UI_SECURED_URL, whose token is MESOS_UI_TOKEN.
async function tokenAsked() {
  const secured = process.env.MESOS_UI_SECURED_URL;
  if (target && !secured) return;
  const token = secured ? process.env.MESOS_UI_TOKEN : 'right.token.here';
  const own = secured ? null : await startMock({ token, tasks: 20 });
  const other = await context.newPage();
  const theirs = watch(other);
  try {
    await other.goto(secured ?? own.url);
    const login = other.locator('[data-test=login][open]');
    await login.getByText('a token is needed').waitFor();
    await login.getByLabel('Token').fill('wrong');
    await other.keyboard.press('Enter');
    await login.waitFor();
    assert.notEqual(await other.locator('[data-test=connection].is-live').count(), 1);
    await login.getByLabel('Token').fill(token);
    await login.getByRole('button', { name: 'Sign in' }).click();
    await other.locator('[data-test=connection].is-live').waitFor();
    await login.waitFor({ state: 'hidden' });
    await other.goto(`${secured ?? own.url}/#/roles`);
    await other.reload();
    await other.locator('[data-test=connection].is-live').waitFor();
    assert.equal(await other.locator('[data-test=login][open]').count(), 0, 'the tab remembers it');
    assert.ok(!other.url().includes(token), 'it is in no address');
    assert.deepEqual(
      theirs.filter((text) => !text.includes('401')),
      [],
    );
  } finally {
    await other.close();
    await own?.close();
  }
}

async function openTask(name) {
  await page.goto(`${new URL(page.url()).origin}/#/tasks`);
  await filter(`name:${name} state:running`);
  await page.locator('#tasks .table-row [data-column=name]').getByText(name, { exact: true }).click();
  await page.locator('[data-test=drawer]').getByRole('heading', { name }).waitFor();
}

async function confirmKill() {
  await page.locator('[data-test=kill]').click();
  await page.locator('[data-test=kill-confirm]').click();
  await page.locator('dialog[open]').waitFor({ state: 'hidden' });
}

function rows(table) {
  return page.getByRole('grid', { name: table }).locator('.table-row');
}

function row(key) {
  return page.locator(`#tasks .table-row[data-key="${key}"]`);
}

function probeRow() {
  return page.locator('#tasks .table-row').filter({ hasText: 'ui-probe' }).first();
}

async function filter(text) {
  await page.locator('#task-filter').fill(text);
}

// A missing favicon is the browser's own request, and a refused kill is an answer that a step asked for.
function watch(watched) {
  const found = [];
  watched.on('pageerror', (error) => found.push(String(error)));
  watched.on('console', (message) => {
    const text = `${message.text()} ${message.location().url}`;
    if (message.type() === 'error' && !text.includes('favicon') && !/\b409\b.*immortal/.test(text)) found.push(text);
  });
  return found;
}

async function shot(name) {
  if (!screenshots) return;
  mkdirSync(screenshots, { recursive: true });
  await page.screenshot({ path: join(screenshots, `${name}.png`) });
}

async function step(name, body) {
  const started = Date.now();
  try {
    await body();
  } catch (error) {
    console.error(`not ok  ${name}`);
    throw error;
  }
  console.log(`ok      ${name} (${Date.now() - started} ms)`);
}
