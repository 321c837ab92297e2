import type { Inputs } from './inputs.ts';
import type { RequestTimes } from './request-times.ts';

/** What is measured: a running server or one in this process. */
export interface Target {
  /** For people. */
  readonly name: string;
  /** Sends a request. @throws {RequestFailure} when it is not answered as it should be. */
  send(inputs: Inputs): Promise<RequestTimes | undefined>;
  /**
   * Made-up inputs of so many rows that the model takes.
   *
   * @throws {ShoalError} INVALID_REQUEST when there are none.
   */
  makeInputs(rows: number): Promise<Inputs>;
  close(): Promise<void>;
}
