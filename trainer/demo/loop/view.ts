import { type LoopStep, type LoopVerdict, percent } from './judge.ts';

const NAMES = Math.max(...['degrades', 'recovers', 'retrains'].map((name) => name.length));

/** What a step says, after its time and name. @param change what happened to the machine */
function describe({ name, accuracy = 0, windows = 0, told }: LoopStep, change: string): string {
  const right = `${percent(accuracy)} of ${windows} windows decided right`;
  switch (name) {
    case 'decides':
      return right;
    case 'degrades':
      return `${right}: ${change}`;
    case 'drift':
      return `signal after ${windows} windows: ${told.cause} changed, most on ${told.channel} at ${told.band} (${decibels(told.changeDb)}); accuracy estimated without labels ${percent(Number(told.estimated))}; ${told.evidence} windows go with it`;
    case 'labels':
      return `${told.labels} labels over MQTT: ${told.classes}`;
    case 'adapts':
      return `adapter ${told.adapter} learned on the gateway in ${Number(told.seconds).toFixed(1)} s, then ${told.shadowWindows} windows in shadow`;
    case 'recovers':
      return `${right} with the adapter`;
    case 'retrains':
      return `server made bundle ${told.bundle} from ${told.parent} (${/tuned by full/.test(String(told.split)) ? 'all weights trained' : 'low-rank tuning'}, with replay)`;
    case 'signs':
      return `signed for the site (version ${told.version}), pushed as ${told.deployment} in ${told.waves} ${told.waves === 1 ? 'wave' : 'waves'}`;
    case 'shadow':
      return `new bundle beside the old on ${windows} windows: agreement ${percent(Number(told.agreement))}, p99 ${Number(told.latencyMs).toFixed(1)} ms`;
    case 'active':
      return `new bundle decides, confirmed by the gateway and heard by the server${told.wireBytes === undefined ? '' : `; ${(Number(told.wireBytes) / 1000).toFixed(0)} kB over the network`}`;
    case 'holds':
      return `${right} without an adapter${told.others === undefined ? '' : `; other machines ${percent(Number(told.others))} of ${told.otherWindows}`}`;
  }
}

const decibels = (value: string | number) => `${Number(value) > 0 ? '+' : ''}${Number(value).toFixed(0)} dB`;

/** A step as a line of text. */
export function describeStep(step: LoopStep, change: string): string {
  return `${step.at.toFixed(1).padStart(6)} s  ${step.name.padEnd(NAMES)}  ${describe(step, change)}`;
}

/** What became of the loop. */
export function describeVerdict({ loopClosed, missing }: LoopVerdict): string {
  return loopClosed ? 'the loop is closed' : `the loop is not closed: ${missing?.name}: ${missing?.why}`;
}
