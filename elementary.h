/* exp, log, pow, sin and the like, with bits that are ours: each libm rounds some results
 * otherwise, and one last bit of a rope frequency changes hundreds of cosines. Made from additions,
 * multiplications and divisions of doubles alone, and so the same wherever those are rounded to
 * nearest. For what is computed once, or once a token: tables, frequencies, angles, slopes, decays.
 * One takes 30 to 250 ns; for what is computed per activation there is vector code (simd/ops.h).
 *
 * Defined for every double, as in C99's Annex F: subnormal arguments and results are rounded like
 * others, NaN gives NaN. The largest errors found, in units in the last place of the result (0.5 is
 * the least there can be), among 4 million arguments each, many of them where it is hardest:
 *
 *     exp 0.502   expm1 0.504   log 0.501   log1p 0.501   pow 0.501   tanh 0.503   sin, cos 0.56
 *
 * proof: test_elementary.c (its second argument makes it take more) */
#ifndef ELEMENTARY_H
#define ELEMENTARY_H

double elementary_exp(double x);
double elementary_expm1(double x); // e^x - 1
double elementary_log(double x);
double elementary_log1p(double x); // log(1 + x)
double elementary_pow(double x, double y);
double elementary_tanh(double x);
double elementary_sin(double x);
double elementary_cos(double x);
/* Both for the price of one. */
void elementary_sin_cos(double x, double *sine, double *cosine);

#endif
