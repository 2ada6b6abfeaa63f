import { join, resolve } from 'node:path';
import { siteRole } from '../../runtime/contracts/update.ts';
import { addSite, createRepository, ROTATED, type Rotated, rotate, rotateSite } from '../fleet/authority.ts';
import { Refusal } from '../refusal.ts';
import { type Command, listOption, numberOption, type ParsedArguments, textOption } from './command.ts';
import { openRepository } from './fleet-options.ts';

async function init(args: ParsedArguments): Promise<Record<string, unknown>> {
  const out = textOption(args, 'out');
  if (!out) throw new Refusal('usage/arguments', 'name the folder with --out; see tremolo keys --help');
  const folder = resolve(out);
  const rootKeys = resolve(textOption(args, 'root-keys') ?? join(folder, 'keys'));
  const policy = {
    folder: rootKeys,
    keys: numberOption(args, 'root-count', 2, { min: 1, max: 9, whole: true }),
    threshold: numberOption(args, 'root-threshold', 2, { min: 1, max: 9, whole: true }),
  };
  const sites = listOption(args, 'site');
  await createRepository(folder, policy, sites, new Date());
  const root = join(folder, '1.root.json');
  process.stdout.write(
    `${folder}: root (${policy.threshold} of ${policy.keys} keys in ${rootKeys}), targets, snapshot, timestamp${sites.map((site) => `, ${siteRole(site)}`).join('')}\n` +
      `give each gateway ${root}; keep root-*.pem where no network reaches\n`,
  );
  return { repository: folder, root, rootKeys, sites, threshold: policy.threshold };
}

async function renew(args: ParsedArguments, role: string | undefined): Promise<Record<string, unknown>> {
  const repository = await openRepository(args);
  const site = role?.startsWith(siteRole('')) ? role.slice(siteRole('').length) : undefined;
  const top = ROTATED.find((name): name is Rotated => name === role);
  if (!site && !top) throw new Refusal('usage/choice', `name a role: ${ROTATED.join(', ')} or site-SITE`);
  if (site) await rotateSite(repository, site, new Date());
  else await rotate(repository, top!, resolve(textOption(args, 'root-keys') ?? repository.keys.folder), new Date());
  process.stdout.write(`${role} has new keys; gateways learn it from the next timestamp (tremolo serve)\n`);
  return { role, root: (await repository.root()).signed.version };
}

export const keys: Command = {
  verb: 'keys',
  summary: 'make and change the keys that updates are signed with',
  help: `usage: tremolo keys init --out DIR [--site SITE …] [options]
       tremolo keys site SITE [--repository DIR]
       tremolo keys rotate root|targets|snapshot|timestamp|site-SITE [--repository DIR]

A repository of signed updates (The Update Framework): keys of root, targets, snapshot and timestamp, and one a site. Ed25519,
files of mode 600. Gateways are installed with 1.root.json and follow root from there. Only root can change the other
keys: keep root-*.pem offline, and bring them for rotate. What a stolen key can do: SECURITY.md.

  --out DIR             folder to make
  --site SITE           a site whose gateways get updates (repeatable)
  --root-count N        keys of root (default: 2), of which
  --root-threshold N    must sign a new root (default: 2)
  --root-keys DIR       where root's keys are written and looked for (default: DIR/keys): a stick, say
  --repository DIR      for site and rotate (default: ./fleet)

example: tremolo keys init --out fleet --site plant-1`,
  options: {
    out: { type: 'string' },
    site: { type: 'string', multiple: true },
    'root-count': { type: 'string' },
    'root-threshold': { type: 'string' },
    'root-keys': { type: 'string' },
    repository: { type: 'string' },
  },
  positionals: 2,
  async run(args) {
    const [action, name] = args.positionals;
    if (action === 'init') return init(args);
    if (action === 'rotate') return renew(args, name);
    if (action !== 'site' || !name)
      throw new Refusal('usage/arguments', 'write keys init --out DIR, keys site SITE or keys rotate ROLE; see tremolo keys --help');
    await addSite(await openRepository(args), name, new Date());
    process.stdout.write(`site ${name} has a key\n`);
    return { site: name };
  },
};
