/** Up to this many names are compared one by one, which costs less than a set as long as they are few. */
const FEW = 8;

/** Names that may stand in a list once. */
export class SeenNames {
  readonly #few: string[] = [];
  #many: Set<string> | undefined;

  /** Notes a name; false when it was there before. */
  add(name: string): boolean {
    if (this.#many !== undefined) {
      const before = this.#many.size;
      return this.#many.add(name).size > before;
    }
    if (this.#few.includes(name)) return false;
    this.#few.push(name);
    if (this.#few.length > FEW) this.#many = new Set(this.#few);
    return true;
  }
}
