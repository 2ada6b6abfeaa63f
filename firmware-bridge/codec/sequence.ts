import type { Heartbeat, SampleFrame } from './frame.ts';

/** How a frame follows the one before. */
export type Arrival =
  /** The first frame of the stream that this tracker sees: joined in the middle, nothing is known to be lost. */
  | 'first'
  /** Follows without a gap. */
  | 'next'
  /** Samples before it are missing. */
  | 'gap'
  /** Its samples have come already, or were counted as lost: a duplicate, or overtaken on the way. To be dropped. */
  | 'late'
  /** The device counts from zero again: it was started, or switched off and on. */
  | 'restart';

/** Samples (per channel) by which a frame may lie behind and still be a late one; farther back is a device that counts from zero again. */
const LATE_SAMPLES = 65_536;

/**
 * Counts the lost samples of one stream from its sequence numbers. Exact, since a sequence number counts samples, not frames: as long as fewer
 * than 2^31 samples are lost in a row (24 days at 1 kHz), whatever the lost frames' lengths. A new epoch begins at 0, so a restart whose first
 * frames are lost is counted too; what the old epoch lost at its end is known only if a heartbeat came later.
 *
 * Device time plays no part: a clock that jumps moves the time stamp, not the count.
 */
export class SequenceTracker {
  /** Samples per channel received, lost, and received but late, since the tracker was made. */
  received = 0;
  lost = 0;
  late = 0;
  /** Samples per channel lost just before the latest frame or heartbeat. */
  lostBefore = 0;

  #epoch = -1;
  #expected = 0;

  /** Takes the next frame of the stream. */
  accept(frame: SampleFrame): Arrival {
    const arrival = this.#advance(frame.epoch, frame.sequence);
    if (arrival === 'late') {
      this.late += frame.samplesPerChannel;
    } else {
      this.received += frame.samplesPerChannel;
      this.#expected = (frame.sequence + frame.samplesPerChannel) >>> 0;
    }
    return arrival;
  }

  /**
   * Takes a heartbeat of the stream: 'gap' where frames before it are missing. Only for transports that keep order (a serial line, one MQTT
   * topic): a frame that a heartbeat overtook would count as lost and then as late.
   */
  acceptHeartbeat(heartbeat: Heartbeat): Arrival {
    return this.#advance(heartbeat.epoch, heartbeat.nextSequence);
  }

  #advance(epoch: number, sequence: number): Arrival {
    const arrival = this.#compare(epoch, sequence);
    if (arrival === 'gap') this.lostBefore = (sequence - this.#expected) >>> 0;
    else if (arrival === 'restart') this.lostBefore = sequence;
    else this.lostBefore = 0;
    this.lost += this.lostBefore;
    if (arrival !== 'late') {
      this.#epoch = epoch;
      this.#expected = sequence;
    }
    return arrival;
  }

  #compare(epoch: number, sequence: number): Arrival {
    if (this.#epoch < 0) return 'first';
    if (epoch !== this.#epoch) return 'restart';
    // Modulo 2^32 as a signed number: ahead is positive.
    const ahead = (sequence - this.#expected) | 0;
    if (ahead === 0) return 'next';
    if (ahead > 0) return 'gap';
    return ahead >= -LATE_SAMPLES ? 'late' : 'restart';
  }
}
