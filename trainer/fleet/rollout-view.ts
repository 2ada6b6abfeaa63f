import { countGroup, type Device, type Rollout, reachedBy } from './rollout.ts';

const BAR = 20;

/** Gateways that are shown at once: those that are under way come first. */
const SHOWN = 12;

const ORDER: readonly Device['outcome'][] = ['updating', 'failed', 'recalled', 'confirmed'];

/** A rollout on stderr: on a terminal a bar for all and one a gateway, redrawn in place; elsewhere a line for each thing that happens. */
export class RolloutView {
  readonly #stream: NodeJS.WriteStream;
  #lines = 0;
  #said = new Map<string, string>();

  constructor(stream: NodeJS.WriteStream = process.stderr) {
    this.#stream = stream;
  }

  update(rollout: Rollout): void {
    if (this.#stream.isTTY) this.#redraw(rolloutLines(rollout));
    else
      for (const [name, text] of happenings(rollout)) {
        if (this.#said.get(name) === text) continue;
        this.#said.set(name, text);
        this.#stream.write(`${text}\n`);
      }
  }

  #redraw(lines: readonly string[]): void {
    const up = this.#lines > 0 ? `\x1b[${this.#lines}A` : '';
    this.#stream.write(`${up}${lines.map((line) => `\r\x1b[2K${line.slice(0, (this.#stream.columns || 120) - 1)}\n`).join('')}\x1b[J`);
    this.#lines = lines.length;
  }
}

/** Group by group and gateway by gateway, each with a name by which it is known when it changes. */
function happenings(rollout: Rollout): [string, string][] {
  const groups = rollout.groups.flatMap((group, index): [string, string][] => {
    if (group.beganMs === undefined) return [];
    const title = `group ${index + 1} of ${rollout.groups.length}`;
    return [[title, `${title}: ${group.gateways.length} gateways${group.successfulMs === undefined ? '' : ', successful'}`]];
  });
  const devices = Object.entries(rollout.devices).map(([name, device]): [string, string] => [name, deviceText(name, device)]);
  const end: [string, string] = ['end', `${rollout.deployment}: ${statusText(rollout)}`];
  return [...groups, ...devices, end];
}

function deviceText(name: string, { outcome, phase, error, goneMs, runs }: Device): string {
  const doing =
    outcome === 'updating' ? (phase ?? 'waiting') : outcome === 'recalled' ? `taken back${runs ? ', still runs it' : ''}` : outcome;
  return `${name} ${doing}${error === undefined ? '' : `: ${error}`}${goneMs === undefined ? '' : ' (not connected)'}`;
}

function statusText({ status, reason }: Rollout): string {
  return reason === undefined ? status : `${status}: ${reason}`;
}

const bar = (share: number) => {
  const full = Math.round(BAR * share);
  return `${'█'.repeat(full)}${'░'.repeat(BAR - full)}`;
};

export function rolloutLines(rollout: Rollout): string[] {
  const counts = rollout.groups.map((group) => countGroup(rollout, group));
  const total = counts.reduce((sum, one) => sum + one.total, 0);
  const confirmed = counts.reduce((sum, one) => sum + one.confirmed, 0);
  const failed = counts.reduce((sum, one) => sum + one.failed, 0);
  const began = rollout.groups.filter(({ beganMs }) => beganMs !== undefined).length;
  const head = `${rollout.deployment} ${bar(total === 0 ? 0 : confirmed / total)} ${confirmed} of ${total} confirmed, ${failed} failed; group ${began} of ${rollout.groups.length}; ${statusText(rollout)}`;
  const devices = reachedBy(rollout)
    .flatMap((name) => (rollout.devices[name] ? [{ name, device: rollout.devices[name] }] : []))
    .sort((a, b) => ORDER.indexOf(a.device.outcome) - ORDER.indexOf(b.device.outcome));
  const shown = devices.slice(0, SHOWN).map(({ name, device }) => {
    const share = device.outcome === 'confirmed' ? 1 : (device.progress ?? 0);
    return `  ${bar(share)} ${deviceText(name, device)}`;
  });
  return [head, ...shown, ...(devices.length > SHOWN ? [`  and ${devices.length - SHOWN} more`] : [])];
}
