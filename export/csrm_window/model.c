/* csrm_window: one step of 1 ms. Written by deploy-snn 0.2.0.
   Compile it with -ffp-contract=off and without -ffast-math, and the results are those of torch, to the bit. */
#include "model.h"

#if defined(__GNUC__) && !defined(__clang__)
/* Otherwise gcc puts branches into the loops over neurons, and gathers into those over weights. */
#pragma GCC optimize ("no-thread-jumps", "no-loop-unroll-and-jam")
#endif

#include <string.h>

static const int16_t X_to_csrm_w[128] = {
    6505, 10069, 1160, 1731, 4029, 8311, 6424, 11750, 5972, 8288, 4573, 5265, 293, 2213, 3852, 6796, 9144, 10486, 2111, 3700, 8934, 11996, 5205, 11458,
    5497, 7247, 12488, 474, 2428, 4894, 3999, 12216, 2306, 3537, 1975, 416, 2728, 12187, 9478, 9730, 6898, 3194, 7662, 435, 1818, 3175, 10689, 10396,
    3647, 6317, 10745, 13069, 9155, 7439, 10948, 2695, 7775, 1473, 2011, 3168, 9519, 9189, 2672, 8533, 10151, 5726, 6804, 8072, 10619, 12846, 1503, 4152,
    9129, 11984, 12257, 12336, 7858, 855, 7156, 2454, 446, 12376, 11537, 16, 7780, 5450, 5475, 3554, 9074, 2672, 8956, 9868, 11245, 9004, 67, 2302,
    9826, 7925, 1441, 2780, 12719, 10970, 3696, 4904, 311, 6436, 1618, 1498, 6192, 7538, 3870, 10442, 2565, 12500, 11045, 1027, 4923, 6849, 7510, 8108,
    9125, 6946, 3356, 9655, 267, 2669, 4913, 3361,
};
static const float csrm_to_csrm_w = -1.0f;
static const float csrm_resKernel[20] = {
    0.010273888f, 0.012497621f, 0.015155749f, 0.01831564f, 0.022047887f, 0.026422711f, 0.031504042f, 0.0373403f,
    0.0439504f, 0.051303126f, 0.059287064f, 0.06766764f, 0.0760261f, 0.08367381f, 0.08953275f, 0.09196986f,
    0.088568725f, 0.07581633f, 0.04867505f, 0.0f,
};
static const float csrm_refKernel[10] = {
    -5.269961f, -6.766764f, -8.688697f, -11.156508f, -14.32524f, -18.393972f, -23.618326f, -30.326534f,
    -38.94004f, -50.0f,
};
static const float csrm_decay = 0.9801987f;
static const float csrm_thresh_theta = -52.0f;

/* List the indices of the inputs that are not 0. Returns their number. */
static int32_t listed_spike(int32_t *restrict list, const uint8_t *restrict z, int32_t n)
{
    int32_t count = 0;
    for (int32_t i = 0; i < n; i++) {
        list[count] = i;
        count += z[i] != 0;
    }
    return count;
}

/* The listed rows of w [., n], which are integers, added up and then scaled. */
static void add_int16(float *restrict out, const int16_t *restrict w, int32_t n, const int32_t *restrict list,
    int32_t count, float scale, int32_t *restrict sums)
{
    int32_t k = 0;
    memset(sums, 0, (size_t)n * sizeof *sums);
    for (; k + 4 <= count; k += 4) {
        const int16_t *a = w + (size_t)list[k] * (size_t)n;
        const int16_t *b = w + (size_t)list[k + 1] * (size_t)n;
        const int16_t *c = w + (size_t)list[k + 2] * (size_t)n;
        const int16_t *d = w + (size_t)list[k + 3] * (size_t)n;
        for (int32_t j = 0; j < n; j++) {
            sums[j] += a[j] + b[j] + c[j] + d[j];
        }
    }
    for (; k < count; k++) {
        const int16_t *a = w + (size_t)list[k] * (size_t)n;
        for (int32_t j = 0; j < n; j++) {
            sums[j] += a[j];
        }
    }
    for (int32_t j = 0; j < n; j++) {
        out[j] = (float)sums[j] * scale;
    }
}

/* One step of one row. */
static void csrm_window_row(csrm_window_state *restrict state, const float *restrict X_x, uint8_t *restrict csrm_s)
{
    float csrm_sum = 0;
    (void)state;
    (void)X_x;
    /* csrm */
    for (int32_t i = 0; i < 152; i++) {
        state->work.csrm_cat[i] = state->csrm_past_drives[i];
    }
    for (int32_t i0 = 0; i0 < 10; i0++) {
        for (int32_t i1 = 0; i1 < 8; i1++) {
            state->work.csrm_terms_2[i0 * 8 + i1] = csrm_refKernel[i0] * (float)state->csrm_last_spikes[i0 * 8 + i1];
        }
    }
    for (int32_t i = 0; i < 72; i++) {
        state->work.csrm_cat_1[i] = (uint8_t)(state->csrm_last_spikes[i + 8]);
    }
    /* X_to_csrm: the weights of the inputs that are not 0, added up. */
    add_int16(state->work.X_to_csrm_drive, X_to_csrm_w, 8, state->work.list, listed_spike(state->work.list, state->X_previous, 16), 6.1035156e-05f, state->work.sums);
    /* The sum over csrm_previous. */
    {
        int32_t sum = 0;
        for (int32_t i = 0; i < 8; i++) {
            sum += state->csrm_previous[i];
        }
        csrm_sum = (float)sum;
    }
    /* X_to_csrm */
    for (int32_t i = 0; i < 8; i++) {
        state->work.csrm_cat[i + 152] = state->work.X_to_csrm_drive[i] + csrm_to_csrm_w * (csrm_sum - (float)state->csrm_previous[i]);
    }
    /* X */
    for (int32_t i = 0; i < 16; i++) {
        state->X_previous[i] = (uint8_t)(X_x[i] != 0.0f);
    }
    /* csrm */
    for (int32_t i = 0; i < 40; i++) {
        state->work.csrm_sums_4[i] = state->work.csrm_terms_2[i] + state->work.csrm_terms_2[i + 40];
    }
    for (int32_t i0 = 0; i0 < 20; i0++) {
        for (int32_t i1 = 0; i1 < 8; i1++) {
            state->work.csrm_terms[i0 * 8 + i1] = csrm_resKernel[i0] * state->work.csrm_cat[i0 * 8 + i1];
        }
    }
    for (int32_t i = 0; i < 16; i++) {
        state->work.csrm_sums_5[i] = state->work.csrm_sums_4[i] + state->work.csrm_sums_4[i + 16];
    }
    for (int32_t i = 0; i < 152; i++) {
        state->csrm_past_drives[i] = state->work.csrm_cat[i + 8];
    }
    for (int32_t i = 0; i < 80; i++) {
        state->work.csrm_sums[i] = state->work.csrm_terms[i] + state->work.csrm_terms[i + 80];
    }
    for (int32_t i = 0; i < 40; i++) {
        state->work.csrm_sums_2[i] = state->work.csrm_sums[i] + state->work.csrm_sums[i + 40];
    }
    for (int32_t i = 0; i < 16; i++) {
        state->work.csrm_sums_3[i] = state->work.csrm_sums_2[i] + state->work.csrm_sums_2[i + 16];
    }
    for (int32_t i = 0; i < 8; i++) {
        const float new_csrm_v = state->csrm_v[i] * csrm_decay + (state->work.csrm_sums_3[i] + state->work.csrm_sums_3[i + 8] + state->work.csrm_sums_2[i + 32] + (state->work.csrm_sums_5[i] + state->work.csrm_sums_5[i + 8] + state->work.csrm_sums_4[i + 32]));
        const int new_csrm_s = new_csrm_v >= csrm_thresh_theta;
        state->csrm_v[i] = new_csrm_v;
        state->work.csrm_cat_1[i + 72] = (uint8_t)(new_csrm_s);
        csrm_s[i] = (uint8_t)(new_csrm_s);
        state->csrm_previous[i] = (uint8_t)(new_csrm_s);
    }
    for (int32_t i = 0; i < 80; i++) {
        state->csrm_last_spikes[i] = (uint8_t)(state->work.csrm_cat_1[i]);
    }
}

void csrm_window_initial_state(csrm_window_state *state)
{
    for (int32_t i = 0; i < 16; i++) {
        state->X_previous[i] = 0;
    }
    for (int32_t i = 0; i < 8; i++) {
        state->csrm_v[i] = -65.0f;
    }
    for (int32_t i = 0; i < 80; i++) {
        state->csrm_last_spikes[i] = 0;
    }
    for (int32_t i = 0; i < 152; i++) {
        state->csrm_past_drives[i] = 0.0f;
    }
    for (int32_t i = 0; i < 8; i++) {
        state->csrm_previous[i] = 0;
    }
}

void csrm_window_step(csrm_window_state *state, const csrm_window_inputs *inputs, const csrm_window_outputs *outputs)
{
    csrm_window_row(state, inputs->X_x, outputs->csrm_s);
}

void csrm_window_run(csrm_window_state *states, int32_t rows, int32_t steps, const csrm_window_inputs *inputs, const csrm_window_outputs *outputs)
{
    size_t at = 0;
    for (int32_t t = 0; t < steps; t++) {
        for (int32_t r = 0; r < rows; r++) {
            csrm_window_row(&states[r], inputs->X_x + at * 16, outputs->csrm_s + at * 8);
            at++;
        }
    }
}

int csrm_window_step_events(csrm_window_state *state, const csrm_window_events *events, const csrm_window_outputs *outputs)
{
    csrm_window_inputs inputs;
    for (int32_t i = 0; i < events->X_x_count; i++) {
        if (events->X_x[i] < 0 || events->X_x[i] >= 16) {
            return -1;
        }
    }
    for (int32_t i = 0; i < events->X_x_count; i++) {
        events->X_x_dense[events->X_x[i]] = 1.0f;
    }
    inputs.X_x = events->X_x_dense;
    csrm_window_step(state, &inputs, outputs);
    for (int32_t i = 0; i < events->X_x_count; i++) {
        events->X_x_dense[events->X_x[i]] = 0.0f;
    }
    return 0;
}

size_t csrm_window_state_size(void)
{
    return sizeof(csrm_window_state);
}

void csrm_window_store_state(const csrm_window_state *states, int32_t rows, const csrm_window_state_arrays *to)
{
    for (int32_t r = 0; r < rows; r++) {
        for (int32_t i = 0; i < 16; i++) {
            to->X_previous[(size_t)r * 16 + (size_t)i] = (float)states[r].X_previous[i];
        }
        for (int32_t i = 0; i < 8; i++) {
            to->csrm_v[(size_t)r * 8 + (size_t)i] = states[r].csrm_v[i];
        }
        for (int32_t i = 0; i < 80; i++) {
            to->csrm_last_spikes[(size_t)r * 80 + (size_t)i] = (float)states[r].csrm_last_spikes[i];
        }
        for (int32_t i = 0; i < 152; i++) {
            to->csrm_past_drives[(size_t)r * 152 + (size_t)i] = states[r].csrm_past_drives[i];
        }
        for (int32_t i = 0; i < 8; i++) {
            to->csrm_previous[(size_t)r * 8 + (size_t)i] = (float)states[r].csrm_previous[i];
        }
    }
}

int csrm_window_load_state(csrm_window_state *states, int32_t rows, const csrm_window_state_arrays *from)
{
    for (size_t i = 0; i < (size_t)rows * 16; i++) {
        if (from->X_previous[i] != 0 && from->X_previous[i] != 1) {
            return -1;
        }
    }
    for (size_t i = 0; i < (size_t)rows * 80; i++) {
        if (from->csrm_last_spikes[i] != 0 && from->csrm_last_spikes[i] != 1) {
            return -1;
        }
    }
    for (size_t i = 0; i < (size_t)rows * 8; i++) {
        if (from->csrm_previous[i] != 0 && from->csrm_previous[i] != 1) {
            return -1;
        }
    }
    for (int32_t r = 0; r < rows; r++) {
        for (int32_t i = 0; i < 16; i++) {
            states[r].X_previous[i] = (uint8_t)from->X_previous[(size_t)r * 16 + (size_t)i];
        }
        for (int32_t i = 0; i < 8; i++) {
            states[r].csrm_v[i] = from->csrm_v[(size_t)r * 8 + (size_t)i];
        }
        for (int32_t i = 0; i < 80; i++) {
            states[r].csrm_last_spikes[i] = (uint8_t)from->csrm_last_spikes[(size_t)r * 80 + (size_t)i];
        }
        for (int32_t i = 0; i < 152; i++) {
            states[r].csrm_past_drives[i] = from->csrm_past_drives[(size_t)r * 152 + (size_t)i];
        }
        for (int32_t i = 0; i < 8; i++) {
            states[r].csrm_previous[i] = (uint8_t)from->csrm_previous[(size_t)r * 8 + (size_t)i];
        }
    }
    return 0;
}

/* The contract, as JSON in ASCII. */
const char csrm_window_contract[] = {
    123, 34, 99, 111, 110, 116, 114, 97, 99, 116, 95, 118, 101, 114, 115, 105, 111, 110, 34, 58, 50, 44, 34, 100,
    116, 34, 58, 49, 46, 48, 44, 34, 116, 101, 110, 115, 111, 114, 115, 34, 58, 91, 123, 34, 110, 97, 109, 101,
    34, 58, 34, 88, 46, 120, 34, 44, 34, 114, 111, 108, 101, 34, 58, 34, 100, 114, 105, 118, 101, 34, 44, 34,
    107, 105, 110, 100, 34, 58, 110, 117, 108, 108, 44, 34, 100, 116, 121, 112, 101, 34, 58, 34, 102, 108, 111, 97,
    116, 51, 50, 34, 44, 34, 97, 120, 101, 115, 34, 58, 91, 123, 34, 110, 97, 109, 101, 34, 58, 34, 98, 97,
    116, 99, 104, 34, 44, 34, 115, 105, 122, 101, 34, 58, 110, 117, 108, 108, 125, 44, 123, 34, 110, 97, 109, 101,
    34, 58, 34, 110, 101, 117, 114, 111, 110, 34, 44, 34, 115, 105, 122, 101, 34, 58, 49, 54, 125, 93, 44, 34,
    111, 119, 110, 101, 114, 34, 58, 34, 88, 34, 44, 34, 105, 110, 105, 116, 105, 97, 108, 34, 58, 34, 34, 44,
    34, 117, 110, 105, 116, 34, 58, 34, 109, 86, 34, 125, 44, 123, 34, 110, 97, 109, 101, 34, 58, 34, 88, 46,
    112, 114, 101, 118, 105, 111, 117, 115, 34, 44, 34, 114, 111, 108, 101, 34, 58, 34, 115, 116, 97, 116, 101, 34,
    44, 34, 107, 105, 110, 100, 34, 58, 34, 112, 114, 101, 118, 105, 111, 117, 115, 34, 44, 34, 100, 116, 121, 112,
    101, 34, 58, 34, 102, 108, 111, 97, 116, 51, 50, 34, 44, 34, 97, 120, 101, 115, 34, 58, 91, 123, 34, 110,
    97, 109, 101, 34, 58, 34, 98, 97, 116, 99, 104, 34, 44, 34, 115, 105, 122, 101, 34, 58, 110, 117, 108, 108,
    125, 44, 123, 34, 110, 97, 109, 101, 34, 58, 34, 110, 101, 117, 114, 111, 110, 34, 44, 34, 115, 105, 122, 101,
    34, 58, 49, 54, 125, 93, 44, 34, 111, 119, 110, 101, 114, 34, 58, 34, 88, 34, 44, 34, 105, 110, 105, 116,
    105, 97, 108, 34, 58, 34, 48, 34, 44, 34, 117, 110, 105, 116, 34, 58, 34, 34, 125, 44, 123, 34, 110, 97,
    109, 101, 34, 58, 34, 99, 115, 114, 109, 46, 118, 34, 44, 34, 114, 111, 108, 101, 34, 58, 34, 115, 116, 97,
    116, 101, 34, 44, 34, 107, 105, 110, 100, 34, 58, 34, 112, 111, 116, 101, 110, 116, 105, 97, 108, 34, 44, 34,
    100, 116, 121, 112, 101, 34, 58, 34, 102, 108, 111, 97, 116, 51, 50, 34, 44, 34, 97, 120, 101, 115, 34, 58,
    91, 123, 34, 110, 97, 109, 101, 34, 58, 34, 98, 97, 116, 99, 104, 34, 44, 34, 115, 105, 122, 101, 34, 58,
    110, 117, 108, 108, 125, 44, 123, 34, 110, 97, 109, 101, 34, 58, 34, 110, 101, 117, 114, 111, 110, 34, 44, 34,
    115, 105, 122, 101, 34, 58, 56, 125, 93, 44, 34, 111, 119, 110, 101, 114, 34, 58, 34, 99, 115, 114, 109, 34,
    44, 34, 105, 110, 105, 116, 105, 97, 108, 34, 58, 34, 114, 101, 115, 116, 34, 44, 34, 117, 110, 105, 116, 34,
    58, 34, 109, 86, 34, 125, 44, 123, 34, 110, 97, 109, 101, 34, 58, 34, 99, 115, 114, 109, 46, 108, 97, 115,
    116, 95, 115, 112, 105, 107, 101, 115, 34, 44, 34, 114, 111, 108, 101, 34, 58, 34, 115, 116, 97, 116, 101, 34,
    44, 34, 107, 105, 110, 100, 34, 58, 34, 119, 105, 110, 100, 111, 119, 34, 44, 34, 100, 116, 121, 112, 101, 34,
    58, 34, 102, 108, 111, 97, 116, 51, 50, 34, 44, 34, 97, 120, 101, 115, 34, 58, 91, 123, 34, 110, 97, 109,
    101, 34, 58, 34, 98, 97, 116, 99, 104, 34, 44, 34, 115, 105, 122, 101, 34, 58, 110, 117, 108, 108, 125, 44,
    123, 34, 110, 97, 109, 101, 34, 58, 34, 119, 105, 110, 100, 111, 119, 34, 44, 34, 115, 105, 122, 101, 34, 58,
    49, 48, 125, 44, 123, 34, 110, 97, 109, 101, 34, 58, 34, 110, 101, 117, 114, 111, 110, 34, 44, 34, 115, 105,
    122, 101, 34, 58, 56, 125, 93, 44, 34, 111, 119, 110, 101, 114, 34, 58, 34, 99, 115, 114, 109, 34, 44, 34,
    105, 110, 105, 116, 105, 97, 108, 34, 58, 34, 48, 34, 44, 34, 117, 110, 105, 116, 34, 58, 34, 34, 125, 44,
    123, 34, 110, 97, 109, 101, 34, 58, 34, 99, 115, 114, 109, 46, 112, 97, 115, 116, 95, 100, 114, 105, 118, 101,
    115, 34, 44, 34, 114, 111, 108, 101, 34, 58, 34, 115, 116, 97, 116, 101, 34, 44, 34, 107, 105, 110, 100, 34,
    58, 34, 119, 105, 110, 100, 111, 119, 34, 44, 34, 100, 116, 121, 112, 101, 34, 58, 34, 102, 108, 111, 97, 116,
    51, 50, 34, 44, 34, 97, 120, 101, 115, 34, 58, 91, 123, 34, 110, 97, 109, 101, 34, 58, 34, 98, 97, 116,
    99, 104, 34, 44, 34, 115, 105, 122, 101, 34, 58, 110, 117, 108, 108, 125, 44, 123, 34, 110, 97, 109, 101, 34,
    58, 34, 119, 105, 110, 100, 111, 119, 34, 44, 34, 115, 105, 122, 101, 34, 58, 49, 57, 125, 44, 123, 34, 110,
    97, 109, 101, 34, 58, 34, 110, 101, 117, 114, 111, 110, 34, 44, 34, 115, 105, 122, 101, 34, 58, 56, 125, 93,
    44, 34, 111, 119, 110, 101, 114, 34, 58, 34, 99, 115, 114, 109, 34, 44, 34, 105, 110, 105, 116, 105, 97, 108,
    34, 58, 34, 48, 34, 44, 34, 117, 110, 105, 116, 34, 58, 34, 109, 86, 34, 125, 44, 123, 34, 110, 97, 109,
    101, 34, 58, 34, 99, 115, 114, 109, 46, 112, 114, 101, 118, 105, 111, 117, 115, 34, 44, 34, 114, 111, 108, 101,
    34, 58, 34, 115, 116, 97, 116, 101, 34, 44, 34, 107, 105, 110, 100, 34, 58, 34, 112, 114, 101, 118, 105, 111,
    117, 115, 34, 44, 34, 100, 116, 121, 112, 101, 34, 58, 34, 102, 108, 111, 97, 116, 51, 50, 34, 44, 34, 97,
    120, 101, 115, 34, 58, 91, 123, 34, 110, 97, 109, 101, 34, 58, 34, 98, 97, 116, 99, 104, 34, 44, 34, 115,
    105, 122, 101, 34, 58, 110, 117, 108, 108, 125, 44, 123, 34, 110, 97, 109, 101, 34, 58, 34, 110, 101, 117, 114,
    111, 110, 34, 44, 34, 115, 105, 122, 101, 34, 58, 56, 125, 93, 44, 34, 111, 119, 110, 101, 114, 34, 58, 34,
    99, 115, 114, 109, 34, 44, 34, 105, 110, 105, 116, 105, 97, 108, 34, 58, 34, 48, 34, 44, 34, 117, 110, 105,
    116, 34, 58, 34, 34, 125, 44, 123, 34, 110, 97, 109, 101, 34, 58, 34, 99, 115, 114, 109, 46, 115, 34, 44,
    34, 114, 111, 108, 101, 34, 58, 34, 115, 112, 105, 107, 101, 115, 34, 44, 34, 107, 105, 110, 100, 34, 58, 110,
    117, 108, 108, 44, 34, 100, 116, 121, 112, 101, 34, 58, 34, 98, 111, 111, 108, 34, 44, 34, 97, 120, 101, 115,
    34, 58, 91, 123, 34, 110, 97, 109, 101, 34, 58, 34, 98, 97, 116, 99, 104, 34, 44, 34, 115, 105, 122, 101,
    34, 58, 110, 117, 108, 108, 125, 44, 123, 34, 110, 97, 109, 101, 34, 58, 34, 110, 101, 117, 114, 111, 110, 34,
    44, 34, 115, 105, 122, 101, 34, 58, 56, 125, 93, 44, 34, 111, 119, 110, 101, 114, 34, 58, 34, 99, 115, 114,
    109, 34, 44, 34, 105, 110, 105, 116, 105, 97, 108, 34, 58, 34, 34, 44, 34, 117, 110, 105, 116, 34, 58, 34,
    34, 125, 93, 44, 34, 114, 111, 117, 110, 100, 105, 110, 103, 34, 58, 91, 93, 125,
    0,
};
