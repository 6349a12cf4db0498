/* Texts that end a generation (--stop), wherever tokens cut them. */
#include "test.h"

#include "cli/stops.h"

/* What is printed of the pieces until a text is found, or they end. */
static void expect(const char *const *stop, const char *const *piece, const char *printed,
                   bool found, size_t n_cut) {
    struct stop_text texts[4];
    struct stops s = {.texts = texts};
    char out[200];
    size_t n = 0;
    bool ended = false;
    for (; stop[s.n]; s.n++) texts[s.n] = (struct stop_text){strdup(stop[s.n]), strlen(stop[s.n])};
    for (size_t i = 0; piece[i] && !ended; i++) {
        struct gguf_str text;
        CHECK(stops_next(&s, (struct gguf_str){piece[i], strlen(piece[i])}, &text, &ended) == 0,
              "memory");
        if (text.len) memcpy(out + n, text.data, text.len);
        n += text.len;
    }
    struct gguf_str end = stops_end(&s);
    if (end.len) memcpy(out + n, end.data, end.len);
    n += end.len;
    CHECK(ended == found && n == strlen(printed) && memcmp(out, printed, n) == 0,
          "stop \"%s\": expected \"%s\", found \"%.*s\"", stop[0], printed, (int)n, out);
    if (ended) CHECK(s.n_cut == n_cut, "stop \"%s\": %zu bytes left out", stop[0], s.n_cut);
    CHECK(stops_end(&s).len == 0, "nothing is held any more");
    while (s.n > 0) free(texts[--s.n].data);
    free(s.held);
}

#define TEXTS(...) ((const char *const[]){__VA_ARGS__, NULL})

int main(void) {
    expect(TEXTS(NULL), TEXTS("ab", "c"), "abc", false, 0);
    expect(TEXTS("b"), TEXTS("abc"), "a", true, 2);
    expect(TEXTS("abc"), TEXTS("a", "b", "c"), "", true, 3);
    expect(TEXTS("abc"), TEXTS("xa", "", "bcy", "z"), "x", true, 4);
    expect(TEXTS("abc"), TEXTS("xa", "b"), "xab", false, 0);
    expect(TEXTS("abc"), TEXTS("ab", "ab", "d", "abc"), "ababd", true, 3);
    expect(TEXTS("aab"), TEXTS("a", "a", "a", "a", "b"), "aa", true, 3);
    expect(TEXTS("bc", "abcd"), TEXTS("a", "b", "c", "d"), "a", true, 2); // the first complete one
    expect(TEXTS("b", "ab"), TEXTS("a", "b"), "", true, 2);               // from its beginning
    expect(TEXTS("x"), TEXTS("abx", "cx"), "ab", true, 1);
    struct stops none = {0};
    stops_free(&none);
    return test_done("test_stops");
}
