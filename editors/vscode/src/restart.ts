/** When a server that ended is started again, and when that is said. */

/** Crashes within this time are one series: it is said once. */
export const SERIES_MS = 3 * 60 * 1000;

const DELAYS_MS = [200, 1000, 4000];

export interface Decision {
  /** Milliseconds until the next start; absent where it is not started again by itself. */
  delayMs?: number;
  /** Whether this crash begins a series, and so is to be said. */
  first: boolean;
  /** Crashes in this series, with this one. */
  times: number;
}

/** Remembers crashes of one window. */
export class Crashes {
  private times: number[] = [];

  /** Takes note of a crash at `now` and says what to do. */
  next(now: number): Decision {
    this.times = this.times.filter((time) => now - time < SERIES_MS);
    this.times.push(now);
    const decision: Decision = { first: this.times.length === 1, times: this.times.length };
    const delayMs = DELAYS_MS[this.times.length - 1];
    return delayMs === undefined ? decision : { ...decision, delayMs };
  }

  /** The user starts it by hand: what was is forgotten. */
  forget(): void {
    this.times = [];
  }
}
