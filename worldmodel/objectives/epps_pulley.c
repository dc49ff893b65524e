/* Sums of powers of z = exp(i h x), and a polynomial in z by Horner's scheme: what epps_pulley.py
   does, for float32 on a CPU, without writing the powers to memory. See compiled.py.

   x is p b m; a tile is LANES columns (of m) of one p. Coefficients and sums are complex, k p m. */
#include <math.h>
#include <string.h>

enum { LANES = 16, ROWS = 4, MOST_KNOTS = 64 };
typedef float lanes __attribute__((vector_size(4 * LANES)));

static lanes load(const float *from, long count)
{
    lanes values = {0};
    if (count == LANES) memcpy(&values, from, sizeof values);
    else memcpy(&values, from, 4 * count);
    return values;
}

static void store(float *to, lanes values, long count)
{
    if (count == LANES) memcpy(to, &values, sizeof values);
    else memcpy(to, &values, 4 * count);
}

static void unit(lanes x, float spacing, lanes *real, lanes *imaginary)
{
    float angle[LANES], cosine[LANES], sine[LANES];
    lanes scaled = x * spacing;
    memcpy(angle, &scaled, sizeof angle);
    for (int l = 0; l < LANES; l++) cosine[l] = cosf(angle[l]);
    for (int l = 0; l < LANES; l++) sine[l] = sinf(angle[l]);
    memcpy(real, cosine, sizeof cosine);
    memcpy(imaginary, sine, sizeof sine);
}

/* sums[k, p, m] = the sum over b of z[p, b, m] to the power k + 1 */
void power_sums(const float *x, long p, long b, long m, long first, long last, float spacing,
                int knots, float *sums)
{
    long tiles = (m + LANES - 1) / LANES;
    for (long tile = first; tile < last; tile++) {
        long position = tile / tiles, j = tile % tiles * LANES;
        long count = m - j < LANES ? m - j : LANES;
        const float *values = x + position * b * m + j;
        lanes real[MOST_KNOTS], imaginary[MOST_KNOTS];
        memset(real, 0, sizeof real);
        memset(imaginary, 0, sizeof imaginary);
        for (long i = 0; i < b; i += ROWS) {
            lanes c1[ROWS], s1[ROWS], c[ROWS], s[ROWS];
            for (int r = 0; r < ROWS; r++) {
                c1[r] = s1[r] = (lanes){0};
                if (i + r < b) unit(load(values + (i + r) * m, count), spacing, &c1[r], &s1[r]);
                c[r] = c1[r];
                s[r] = s1[r];
            }
            for (int k = 0; k < knots - 1; k++) {
                real[k] += (c[0] + c[1]) + (c[2] + c[3]);
                imaginary[k] += (s[0] + s[1]) + (s[2] + s[3]);
                for (int r = 0; r < ROWS; r++) {
                    lanes next = c[r] * c1[r] - s[r] * s1[r];
                    s[r] = c[r] * s1[r] + s[r] * c1[r];
                    c[r] = next;
                }
            }
        }
        for (int k = 0; k < knots - 1; k++)
            for (long l = 0; l < count; l++) {
                float *sum = sums + 2 * ((k * p + position) * m + j + l);
                sum[0] = real[k][l];
                sum[1] = imaginary[k][l];
            }
    }
}

/* slopes[p, b, m] = the real part of the sum over k of coefficients[k, p, m] z to the power k + 1 */
void slope(const float *x, long p, long b, long m, long first, long last, float spacing,
           int knots, const float *coefficients, float *slopes)
{
    long tiles = (m + LANES - 1) / LANES;
    for (long tile = first; tile < last; tile++) {
        long position = tile / tiles, j = tile % tiles * LANES;
        long count = m - j < LANES ? m - j : LANES;
        long corner = position * b * m + j;
        lanes real[MOST_KNOTS], imaginary[MOST_KNOTS];
        for (int k = 0; k < knots - 1; k++) {
            real[k] = imaginary[k] = (lanes){0};
            for (long l = 0; l < count; l++) {
                const float *coefficient = coefficients + 2 * ((k * p + position) * m + j + l);
                real[k][l] = coefficient[0];
                imaginary[k][l] = coefficient[1];
            }
        }
        for (long i = 0; i < b; i += ROWS) {
            lanes c1[ROWS], s1[ROWS], c[ROWS], s[ROWS];
            for (int r = 0; r < ROWS; r++) { /* several rows at once hide how long a product takes */
                c1[r] = s1[r] = (lanes){0};
                if (i + r < b)
                    unit(load(x + corner + (i + r) * m, count), spacing, &c1[r], &s1[r]);
                c[r] = real[knots - 2];
                s[r] = imaginary[knots - 2];
            }
            for (int k = knots - 3; k >= 0; k--)
                for (int r = 0; r < ROWS; r++) {
                    lanes next = c[r] * c1[r] - s[r] * s1[r] + real[k];
                    s[r] = c[r] * s1[r] + s[r] * c1[r] + imaginary[k];
                    c[r] = next;
                }
            for (int r = 0; r < ROWS && i + r < b; r++)
                store(slopes + corner + (i + r) * m, c[r] * c1[r] - s[r] * s1[r], count);
        }
    }
}
