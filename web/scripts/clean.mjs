// Empties dist/ of earlier bundles, so that what the gateway embeds is one build; keeps dist/.gitignore.
import { mkdirSync, readdirSync, rmSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const dist = fileURLToPath(new URL('../dist/', import.meta.url));
mkdirSync(dist, { recursive: true });
for (const name of readdirSync(dist)) {
  if (name !== '.gitignore') rmSync(dist + name, { recursive: true, force: true });
}
