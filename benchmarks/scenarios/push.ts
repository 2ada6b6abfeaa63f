import { digits, quantile } from '../harness/interleave.ts';
import type { Measured, Scenario, Skipped } from '../harness/scenario.ts';
import { measureAdapterPush } from '../push/adapter.ts';
import { measureFleetPush } from '../push/fleet.ts';
import { type LossyPush, measureLossyPush } from '../push/lossy.ts';

const programsOf = (root: string) => new URL(`file://${root}dist/`);
const shipped = (root: string) => `${root}models/shipped/plant`;

const adapter: Scenario = {
  id: 'push.adapter.seconds',
  what: 'adapter to one live gateway on loopback, tremolo push from its start to the gateway’s confirmation, without shadow: median',
  unit: 's',
  target: { atMost: 3 },
  async measure({ root, quick, progress }): Promise<Measured | Skipped> {
    const pushes = await measureAdapterPush({ times: quick ? 2 : 7, bundle: shipped(root), programs: programsOf(root), progress });
    if ('skipped' in pushes) return pushes;
    const confirmed = pushes.map(({ confirmedSeconds }) => confirmedSeconds);
    const phase = (name: string) =>
      quantile(
        pushes.flatMap(({ phases }) => phases[name] ?? []),
        0.5,
      );
    return {
      figure: quantile(confirmed, 0.5),
      samples: pushes.length,
      details: {
        largest: `${digits(Math.max(...confirmed))} s`,
        'until the command ended': `${digits(
          quantile(
            pushes.map(({ endedSeconds }) => endedSeconds),
            0.5,
          ),
        )} s`,
        'until the gateway looked': `${digits(phase('metadata'))} s`,
        'until it decided': `${digits(phase('active'))} s`,
        'bytes for the gateway': Math.max(...pushes.map(({ wireBytes }) => wireBytes)),
      },
    };
  },
};

const fleet: Scenario = {
  id: 'push.fleet.100',
  what: 'adapter to 100 gateways on one broker, each with its own verification, store and known answers: tremolo push from start to end',
  unit: 's',
  target: { atMost: 60 },
  async measure({ root, quick, progress }): Promise<Measured> {
    const gateways = quick ? 10 : 100;
    const result = await measureFleetPush({ gateways, bundle: shipped(root), programs: programsOf(root), progress });
    if (result.confirmed !== gateways) throw new Error(`${result.confirmed} of ${gateways} gateways confirmed: ${result.status}`);
    const { seconds, chunksPublished, chunksDistinct, bytesOnWire, broker, processes, disturbance } = result;
    return {
      figure: seconds,
      samples: gateways,
      details: {
        'chunks sent': chunksPublished,
        'different chunks': chunksDistinct,
        'bytes to the broker': bytesOnWire,
        broker,
        processes,
        disturbed: disturbance.reasons.join(', ') || 'no',
      },
    };
  },
};

const PAYLOAD_BYTES = 200_000;
/** Links at a time: they wait for most of their time. */
const AT_A_TIME = 5;

const lossy: Scenario = {
  id: 'push.lossy.bytes',
  what: '200 kB bundle over a link that loses 20 % of the update’s packets each way, takes 300 ms and is cut at random: bytes on the link for each of the bundle, mean of the seeds',
  unit: 'x',
  target: { atMost: 1.8 },
  async measure({ root, quick, progress }): Promise<Measured> {
    const seeds = Array.from({ length: quick ? 2 : 10 }, (_, seed) => seed).values();
    const pushes: LossyPush[] = [];
    const work = async () => {
      for (const seed of seeds) {
        const push = await measureLossyPush({ seed, payloadBytes: PAYLOAD_BYTES, bundle: shipped(root), programs: programsOf(root) });
        pushes.push(push);
        progress(
          `seed ${seed}: ${digits(shareOf(push))} times the bytes, ${push.lost} packets lost, ${push.cuts} cuts, ${digits(push.seconds)} s`,
        );
      }
    };
    await Promise.all(Array.from({ length: AT_A_TIME }, work));
    const shares = pushes.map(shareOf);
    return {
      figure: shares.reduce((sum, share) => sum + share, 0) / shares.length,
      samples: pushes.length,
      details: {
        least: `${digits(Math.min(...shares))}x`,
        largest: `${digits(Math.max(...shares))}x`,
        cuts: pushes.map(({ cuts }) => cuts).join(' '),
        'longest push': `${digits(Math.max(...pushes.map(({ seconds }) => seconds)))} s`,
        'bytes of the bundle': pushes[0].payloadBytes,
      },
    };
  },
};

const shareOf = ({ wireBytes, payloadBytes }: LossyPush) => wireBytes / payloadBytes;

export const PUSH: readonly Scenario[] = [adapter, fleet, lossy];
