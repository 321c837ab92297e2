/** The part of asciichart that plots use; the package has no types. */
declare module 'asciichart' {
  interface PlotConfig {
    /** Lines of the plot, less one. */
    readonly height: number;
    readonly min: number;
    readonly max: number;
    /** Columns before the plot, of which the label takes the first. */
    readonly offset: number;
    readonly format: (value: number) => string;
    readonly colors: readonly (string | undefined)[];
  }
  const asciichart: {
    readonly blue: string;
    readonly green: string;
    readonly magenta: string;
    readonly yellow: string;
    readonly cyan: string;
    readonly red: string;
    readonly reset: string;
    plot(series: readonly (readonly number[])[], config: PlotConfig): string;
  };
  export default asciichart;
}
