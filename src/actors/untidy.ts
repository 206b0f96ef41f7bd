/** Something that is to be done about what is stored of a job besides its state: `tidy.ts` finds it, and the sweep has it done. */
export interface Untidy {
  /** What is wrong with it, in words. */
  what: string;
  /** @throws AsyncError of the bus. What it does not wait for, and fails, is left to the next sweep. */
  mend: () => void | Promise<void>;
}
