import { describe, expect, it } from 'vitest';
import type { SampleFrame } from '../../../firmware-bridge/codec/index.ts';
import { SignalWatch } from '../../../runtime/sources/index.ts';
import { noiseFrame } from '../../support/live-gateway.ts';

function watched() {
  const troubles: string[] = [];
  const watch = new SignalWatch(10, (kind, stream) => troubles.push(`${kind} ${stream}`));
  /** So many milliseconds of a stream, as they would come; `speed`: how fast the device's samples really are. */
  const play = (stream: string, fromMs: number, ms: number, more: (sequence: number) => Partial<SampleFrame> = () => ({}), speed = 1) => {
    for (let sequence = 0; sequence < ms; sequence += 64)
      watch.observe(stream, noiseFrame(fromMs + sequence, more(fromMs + sequence)), (fromMs + sequence + 64) / speed);
  };
  return { watch, troubles, play };
}

describe('a watched stream', () => {
  it('that is well has no trouble', () => {
    const { watch, troubles, play } = watched();
    play('a', 0, 60_032);
    watch.check(61_000);
    expect(troubles).toEqual([]);
    expect(watch.troubled(61_000, 9)).toEqual({});
    expect(Object.values(watch.counters).every((count) => count === 0)).toBe(true);
  });

  it('that does not move for two seconds on one channel is stuck, until it moves again', () => {
    const { watch, troubles, play } = watched();
    const stuck = (sequence: number) => {
      const { samples } = noiseFrame(sequence);
      for (let at = 1; at < samples.length; at += 2) samples[at] = 77;
      return { samples };
    };
    play('a', 0, 1_920, stuck);
    expect(troubles).toEqual([]);
    play('a', 1_920, 1_920, stuck);
    expect(troubles).toEqual(['stuck a']);
    expect(watch.troubled(4_000, 9)).toEqual({ a: ['stuck'] });
    play('a', 3_840, 64);
    expect(watch.troubled(4_000, 9)).toEqual({});
    expect(watch.counters.stuck).toBe(1);
  });

  it.each([32_767, -32_767, -32_768])('at the end of its range (%i) is saturated, every value counted', (rail) => {
    const { watch, troubles, play } = watched();
    play('a', 0, 128, () => {
      const { samples } = noiseFrame(0);
      samples.fill(rail, 0, 3);
      return { samples };
    });
    expect(watch.counters.saturatedSamples).toBe(6);
    expect(troubles).toEqual(['saturated a']);
    expect(watch.troubled(1_000, 9)).toEqual({ a: ['saturated'] });
    expect(watch.troubled(60_000, 9)).toEqual({});
  });

  it('whose clock jumps is told from one that has a gap or begins anew', () => {
    const { watch, troubles, play } = watched();
    play('a', 0, 640);
    play('a', 1_280, 640);
    play('a', 0, 640, () => ({ epoch: 1 }));
    expect(watch.counters.clockJumps).toBe(0);
    play('a', 640, 64, (sequence) => ({ epoch: 1, deviceTimeUs: sequence * 1000 + 51_000 }));
    play('a', 704, 64, (sequence) => ({ epoch: 1, deviceTimeUs: sequence * 1000 + 51_000 }));
    expect(troubles).toEqual(['clockJump a']);
    expect(watch.counters.clockJumps).toBe(1);
  });

  it('that sends faster than it announces is off rate; one of 4 % and one that the broker held back are not', () => {
    const { watch, troubles, play } = watched();
    play('fast', 0, 60_032, undefined, 1.1);
    play('close', 0, 60_032, undefined, 1.04);
    play('held', 0, 10_048);
    watch.interrupted();
    for (let sequence = 10_048; sequence < 30_016; sequence += 64) watch.observe('held', noiseFrame(sequence), 30_000);
    play('held', 30_016, 5_056);
    expect(troubles).toEqual(['offRate fast']);
    expect(watch.troubled(60_000, 9)).toEqual({ fast: ['offRate'] });
  });

  it('that falls silent is noticed once, and forgiven when it speaks', () => {
    const { watch, troubles, play } = watched();
    play('a', 0, 640);
    for (const nowMs of [3_000, 6_000, 7_000]) watch.check(nowMs);
    expect(troubles).toEqual(['silent a']);
    expect(watch.troubled(7_000, 9)).toEqual({ a: ['silent'] });
    watch.observe('a', noiseFrame(640), 8_000);
    expect(watch.troubled(8_000, 9)).toEqual({});
    expect(watch.counters.silent).toBe(1);
  });

  it('is one of at most twice as many as the gateway has room for', () => {
    const { watch, play } = watched();
    for (let n = 0; n < 100; n++) play(`s${n}`, 0, 64);
    watch.check(60_000);
    expect(Object.keys(watch.troubled(60_000, 1000))).toHaveLength(20);
    expect(Object.keys(watch.troubled(60_000, 3))).toHaveLength(3);
  });
});
