// Completes package-lock.json after a change of dependencies: a package mirror that carries only some platforms' builds
// makes npm leave the others out, and `npm ci` then refuses the file. Their names say all that the entries need.
// Run it on a fresh lock file: with node_modules in place npm writes entries without their checksums.
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const file = fileURLToPath(new URL('../package-lock.json', import.meta.url));
const lock = JSON.parse(readFileSync(file, 'utf8'));
for (const [path, entry] of Object.entries(lock.packages)) {
  delete entry.resolved;
  const owner = path.replace(/^.*node_modules\//, '');
  for (const [name, version] of Object.entries(entry.optionalDependencies ?? {})) {
    // `@rollup/rollup-linux-arm64-musl` → linux, arm64, musl.
    const [os, cpu, abi] = name.split('/').at(-1).replace(`${owner}-`, '').split('-');
    if (lock.packages[`node_modules/${name}`] || !cpu) continue;
    const libc = os === 'linux' && abi ? { libc: [abi.startsWith('musl') ? 'musl' : 'glibc'] } : {};
    lock.packages[`node_modules/${name}`] = { version, cpu: [cpu], dev: true, ...libc, optional: true, os: [os] };
  }
}
lock.packages = Object.fromEntries(Object.entries(lock.packages).sort(([a], [b]) => (a < b ? -1 : 1)));
writeFileSync(file, `${JSON.stringify(lock, null, 2)}\n`);
