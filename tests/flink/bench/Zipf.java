/**
 * Ranks 1 to n, rank k with a probability in proportion to 1 / k, from random 64-bit numbers.
 *
 * <p>Rejection-inversion, as in millpond-bench: W. Hoermann and G. Derflinger, "Rejection-inversion to generate variates
 * from monotone discrete distributions", 1996. With the exponent 1 the integral of the hat is the logarithm.
 */
final class Zipf implements java.io.Serializable {
    private final long ranks;
    private final double first;
    private final double last;
    private final double squeeze;

    Zipf(long ranks) {
        this.ranks = ranks;
        first = Math.log(1.5) - 1;
        last = Math.log(ranks + 0.5);
        squeeze = 2 - Math.exp(Math.log(2.5) - 0.5);
    }

    /** The rank that a random number stands for; a rejected one is mixed again. */
    long rank(long random) {
        while (true) {
            double share = (random >>> 11) * 0x1p-53;
            double area = last + share * (first - last);
            double x = Math.exp(area);
            long rank = Math.max(1, Math.min(ranks, (long) (x + 0.5)));
            if (rank - x <= squeeze || area >= Math.log(rank + 0.5) - 1.0 / rank) return rank;
            random = Numbers.mixed(random);
        }
    }
}
