"""The C functions that the products share. A source contains those that it calls."""


def _listed(name: str, kind: str) -> str:
    return f"""
/* List the indices of the inputs that are not 0. Returns their number. */
static int32_t {name}(int32_t *restrict list, const {kind} *restrict z, int32_t n)
{{
    int32_t count = 0;
    for (int32_t i = 0; i < n; i++) {{
        list[count] = i;
        count += z[i] != 0;
    }}
    return count;
}}
"""


def _integers(name: str, kind: str) -> str:
    return f"""
/* The listed rows of w [., n], which are integers, added up and then scaled. */
static void {name}(float *restrict out, const {kind} *restrict w, int32_t n, const int32_t *restrict list,
    int32_t count, float scale, int32_t *restrict sums)
{{
    int32_t k = 0;
    memset(sums, 0, (size_t)n * sizeof *sums);
    for (; k + 4 <= count; k += 4) {{
        const {kind} *a = w + (size_t)list[k] * (size_t)n;
        const {kind} *b = w + (size_t)list[k + 1] * (size_t)n;
        const {kind} *c = w + (size_t)list[k + 2] * (size_t)n;
        const {kind} *d = w + (size_t)list[k + 3] * (size_t)n;
        for (int32_t j = 0; j < n; j++) {{
            sums[j] += a[j] + b[j] + c[j] + d[j];
        }}
    }}
    for (; k < count; k++) {{
        const {kind} *a = w + (size_t)list[k] * (size_t)n;
        for (int32_t j = 0; j < n; j++) {{
            sums[j] += a[j];
        }}
    }}
    for (int32_t j = 0; j < n; j++) {{
        out[j] = (float)sums[j] * scale;
    }}
}}
"""


LISTED_SPIKE = """
/* List the indices of the inputs that are 1. Returns their number. */
static int32_t listed_spike(int32_t *restrict list, const uint8_t *restrict z, int32_t n)
{
    int32_t count = 0, i = 0;
#if defined(__GNUC__) && !defined(__wasm__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    /* 64 inputs at once: the product moves the lowest bits of 8 bytes into one byte. */
    for (; i + 64 <= n; i += 64) {
        uint64_t spikes = 0;
        for (int32_t k = 0; k < 64; k += 8) {
            uint64_t bytes;
            memcpy(&bytes, z + i + k, sizeof bytes);
            spikes |= ((bytes * 0x0102040810204080u) >> 56) << k;
        }
        for (; spikes != 0; spikes &= spikes - 1) {
            list[count++] = i + __builtin_ctzll(spikes);
        }
    }
#else
    for (; i + 4 <= n; i += 4) {
        for (int32_t k = i; k < i + 4; k++) {
            list[count] = k;
            count += z[k] != 0;
        }
    }
#endif
    for (; i < n; i++) {
        list[count] = i;
        count += z[i] != 0;
    }
    return count;
}
"""


HELPERS = {
    "listed_spike": LISTED_SPIKE,
    "listed_float": _listed("listed_float", "float"),
    "add_rows": """
/* The listed rows of w [., n], added up one after the other. */
static void add_rows(float *restrict out, const float *restrict w, int32_t n, const int32_t *restrict list, int32_t count)
{
    int32_t k = 0;
    memset(out, 0, (size_t)n * sizeof *out);
    for (; k + 4 <= count; k += 4) {
        const float *a = w + (size_t)list[k] * (size_t)n;
        const float *b = w + (size_t)list[k + 1] * (size_t)n;
        const float *c = w + (size_t)list[k + 2] * (size_t)n;
        const float *d = w + (size_t)list[k + 3] * (size_t)n;
        for (int32_t j = 0; j < n; j++) {
            out[j] = out[j] + a[j] + b[j] + c[j] + d[j];
        }
    }
    for (; k < count; k++) {
        const float *a = w + (size_t)list[k] * (size_t)n;
        for (int32_t j = 0; j < n; j++) {
            out[j] += a[j];
        }
    }
}
""",
    "add_scaled_rows": """
/* The listed rows of w [., n], each times its input, added up one after the other. */
static void add_scaled_rows(float *restrict out, const float *restrict w, int32_t n, const int32_t *restrict list,
    int32_t count, const float *restrict z)
{
    memset(out, 0, (size_t)n * sizeof *out);
    for (int32_t k = 0; k < count; k++) {
        const float *a = w + (size_t)list[k] * (size_t)n;
        const float factor = z[list[k]];
        for (int32_t j = 0; j < n; j++) {
            out[j] += factor * a[j];
        }
    }
}
""",
    "add_int8": _integers("add_int8", "int8_t"),
    "add_int16": _integers("add_int16", "int16_t"),
}
"""The helpers by name."""
