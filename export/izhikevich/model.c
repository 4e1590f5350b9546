/* izhikevich: one step of 1 ms. Written by deploy-snn 0.2.0.
   Compile it with -ffp-contract=off and without -ffast-math, and the results are those of torch, to the bit. */
#include "model.h"

#if defined(__GNUC__) && !defined(__clang__)
/* Otherwise gcc puts branches into the loops over neurons, and gathers into those over weights. */
#pragma GCC optimize ("no-thread-jumps", "no-loop-unroll-and-jam")
#endif

#include <string.h>

static const float thresh = 45.0f;
static const float c_2[8] = {-61.305943f, -56.14753f, -64.882576f, -64.73852f, -63.582367f, -58.969162f, -61.397125f, -52.9458f};
static const float d[8] = {6.5223765f, 4.4590116f, 7.9530306f, 7.8954077f, 7.432947f, 5.5876656f, 6.558851f, 3.178321f};
static const float S[64] = {
    0.22781372f, 0.34883308f, 0.20970345f, 0.08795357f, 0.26314735f, 0.13912582f, 0.29658508f, 0.38724136f,
    0.31615257f, 0.40000534f, 0.27645302f, 0.1349163f, 0.12182808f, 0.24097824f, 0.056173325f, 0.21844482f,
    0.1744461f, 0.080513f, 0.47636795f, 0.07533836f, 0.29229546f, 0.40988922f, 0.07672691f, 0.25954437f,
    0.20085716f, 0.14113426f, 0.018081665f, 0.015859604f, 0.01657486f, 0.49853325f, 0.120853424f, 0.30792618f,
    0.011161804f, 0.34080315f, 0.09261513f, 0.104063034f, 0.06935692f, 0.34922028f, 0.36311722f, 0.40509415f,
    0.08442879f, 0.45759583f, 0.18670845f, 0.46489906f, 0.12111664f, 0.2837715f, 0.35053825f, 0.49004745f,
    0.14694405f, 0.19854927f, 0.15254974f, 0.3615532f, 0.40773392f, 0.4176197f, 0.101911545f, 0.05734253f,
    0.25926018f, 0.43707657f, 0.4659996f, 0.37116814f, 0.39657974f, 0.10279846f, 0.32552528f, 0.15838242f,
};
static const float dt_mul = 0.5f;
static const float b = 0.2f;
static const float dt_a = 0.02f;

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

/* One step of one row. */
static void izhikevich_row(izhikevich_state *restrict state, const float *restrict x, uint8_t *restrict s)
{
    (void)state;
    (void)x;
    for (int32_t i = 0; i < 8; i++) {
        s[i] = (uint8_t)(state->v[i] >= thresh);
    }
    /* The recurrent drive: the weights of the inputs that are not 0, added up. */
    add_rows(state->work.drive, S, 8, state->work.list, listed_spike(state->work.list, s, 8));
    for (int32_t i = 0; i < 8; i++) {
        const float c_2_i = c_2[i];
        const float v_i = state->v[i];
        const float new_v = s[i] ? c_2_i : v_i;
        const float new_u = state->u[i] + d[i];
        const float u_i = state->u[i];
        const float new_u_2 = s[i] ? new_u : u_i;
        const float new_v_2 = x[i] + state->work.drive[i];
        const float new_v_3 = new_v + dt_mul * (new_v * new_v * 0.04f + new_v * 5.0f + 140.0f - new_u_2 + new_v_2);
        const float new_v_4 = new_v_3 + dt_mul * (new_v_3 * new_v_3 * 0.04f + new_v_3 * 5.0f + 140.0f - new_u_2 + new_v_2);
        state->v[i] = new_v_4;
        state->u[i] = new_u_2 + dt_a * (b * new_v_4 - new_u_2);
    }
}

void izhikevich_initial_state(izhikevich_state *state)
{
    for (int32_t i = 0; i < 8; i++) {
        state->v[i] = -65.0f;
    }
    for (int32_t i = 0; i < 8; i++) {
        state->u[i] = -13.0f;
    }
}

void izhikevich_step(izhikevich_state *state, const izhikevich_inputs *inputs, const izhikevich_outputs *outputs)
{
    izhikevich_row(state, inputs->x, outputs->s);
}

void izhikevich_run(izhikevich_state *states, int32_t rows, int32_t steps, const izhikevich_inputs *inputs, const izhikevich_outputs *outputs)
{
    size_t at = 0;
    for (int32_t t = 0; t < steps; t++) {
        for (int32_t r = 0; r < rows; r++) {
            izhikevich_row(&states[r], inputs->x + at * 8, outputs->s + at * 8);
            at++;
        }
    }
}

int izhikevich_step_events(izhikevich_state *state, const izhikevich_events *events, const izhikevich_outputs *outputs)
{
    izhikevich_inputs inputs;
    for (int32_t i = 0; i < events->x_count; i++) {
        if (events->x[i] < 0 || events->x[i] >= 8) {
            return -1;
        }
    }
    for (int32_t i = 0; i < events->x_count; i++) {
        events->x_dense[events->x[i]] = 1.0f;
    }
    inputs.x = events->x_dense;
    izhikevich_step(state, &inputs, outputs);
    for (int32_t i = 0; i < events->x_count; i++) {
        events->x_dense[events->x[i]] = 0.0f;
    }
    return 0;
}

size_t izhikevich_state_size(void)
{
    return sizeof(izhikevich_state);
}

void izhikevich_store_state(const izhikevich_state *states, int32_t rows, const izhikevich_state_arrays *to)
{
    for (int32_t r = 0; r < rows; r++) {
        for (int32_t i = 0; i < 8; i++) {
            to->v[(size_t)r * 8 + (size_t)i] = states[r].v[i];
        }
        for (int32_t i = 0; i < 8; i++) {
            to->u[(size_t)r * 8 + (size_t)i] = states[r].u[i];
        }
    }
}

int izhikevich_load_state(izhikevich_state *states, int32_t rows, const izhikevich_state_arrays *from)
{
    for (int32_t r = 0; r < rows; r++) {
        for (int32_t i = 0; i < 8; i++) {
            states[r].v[i] = from->v[(size_t)r * 8 + (size_t)i];
        }
        for (int32_t i = 0; i < 8; i++) {
            states[r].u[i] = from->u[(size_t)r * 8 + (size_t)i];
        }
    }
    return 0;
}

/* The contract, as JSON in ASCII. */
const char izhikevich_contract[] = {
    123, 34, 99, 111, 110, 116, 114, 97, 99, 116, 95, 118, 101, 114, 115, 105, 111, 110, 34, 58, 50, 44, 34, 100,
    116, 34, 58, 49, 46, 48, 44, 34, 116, 101, 110, 115, 111, 114, 115, 34, 58, 91, 123, 34, 110, 97, 109, 101,
    34, 58, 34, 120, 34, 44, 34, 114, 111, 108, 101, 34, 58, 34, 100, 114, 105, 118, 101, 34, 44, 34, 107, 105,
    110, 100, 34, 58, 110, 117, 108, 108, 44, 34, 100, 116, 121, 112, 101, 34, 58, 34, 102, 108, 111, 97, 116, 51,
    50, 34, 44, 34, 97, 120, 101, 115, 34, 58, 91, 123, 34, 110, 97, 109, 101, 34, 58, 34, 98, 97, 116, 99,
    104, 34, 44, 34, 115, 105, 122, 101, 34, 58, 110, 117, 108, 108, 125, 44, 123, 34, 110, 97, 109, 101, 34, 58,
    34, 110, 101, 117, 114, 111, 110, 34, 44, 34, 115, 105, 122, 101, 34, 58, 56, 125, 93, 44, 34, 111, 119, 110,
    101, 114, 34, 58, 34, 34, 44, 34, 105, 110, 105, 116, 105, 97, 108, 34, 58, 34, 34, 44, 34, 117, 110, 105,
    116, 34, 58, 34, 109, 86, 34, 125, 44, 123, 34, 110, 97, 109, 101, 34, 58, 34, 118, 34, 44, 34, 114, 111,
    108, 101, 34, 58, 34, 115, 116, 97, 116, 101, 34, 44, 34, 107, 105, 110, 100, 34, 58, 34, 112, 111, 116, 101,
    110, 116, 105, 97, 108, 34, 44, 34, 100, 116, 121, 112, 101, 34, 58, 34, 102, 108, 111, 97, 116, 51, 50, 34,
    44, 34, 97, 120, 101, 115, 34, 58, 91, 123, 34, 110, 97, 109, 101, 34, 58, 34, 98, 97, 116, 99, 104, 34,
    44, 34, 115, 105, 122, 101, 34, 58, 110, 117, 108, 108, 125, 44, 123, 34, 110, 97, 109, 101, 34, 58, 34, 110,
    101, 117, 114, 111, 110, 34, 44, 34, 115, 105, 122, 101, 34, 58, 56, 125, 93, 44, 34, 111, 119, 110, 101, 114,
    34, 58, 34, 34, 44, 34, 105, 110, 105, 116, 105, 97, 108, 34, 58, 34, 114, 101, 115, 116, 34, 44, 34, 117,
    110, 105, 116, 34, 58, 34, 109, 86, 34, 125, 44, 123, 34, 110, 97, 109, 101, 34, 58, 34, 117, 34, 44, 34,
    114, 111, 108, 101, 34, 58, 34, 115, 116, 97, 116, 101, 34, 44, 34, 107, 105, 110, 100, 34, 58, 34, 114, 101,
    99, 111, 118, 101, 114, 121, 34, 44, 34, 100, 116, 121, 112, 101, 34, 58, 34, 102, 108, 111, 97, 116, 51, 50,
    34, 44, 34, 97, 120, 101, 115, 34, 58, 91, 123, 34, 110, 97, 109, 101, 34, 58, 34, 98, 97, 116, 99, 104,
    34, 44, 34, 115, 105, 122, 101, 34, 58, 110, 117, 108, 108, 125, 44, 123, 34, 110, 97, 109, 101, 34, 58, 34,
    110, 101, 117, 114, 111, 110, 34, 44, 34, 115, 105, 122, 101, 34, 58, 56, 125, 93, 44, 34, 111, 119, 110, 101,
    114, 34, 58, 34, 34, 44, 34, 105, 110, 105, 116, 105, 97, 108, 34, 58, 34, 98, 32, 42, 32, 118, 34, 44,
    34, 117, 110, 105, 116, 34, 58, 34, 109, 86, 34, 125, 44, 123, 34, 110, 97, 109, 101, 34, 58, 34, 115, 34,
    44, 34, 114, 111, 108, 101, 34, 58, 34, 115, 112, 105, 107, 101, 115, 34, 44, 34, 107, 105, 110, 100, 34, 58,
    110, 117, 108, 108, 44, 34, 100, 116, 121, 112, 101, 34, 58, 34, 98, 111, 111, 108, 34, 44, 34, 97, 120, 101,
    115, 34, 58, 91, 123, 34, 110, 97, 109, 101, 34, 58, 34, 98, 97, 116, 99, 104, 34, 44, 34, 115, 105, 122,
    101, 34, 58, 110, 117, 108, 108, 125, 44, 123, 34, 110, 97, 109, 101, 34, 58, 34, 110, 101, 117, 114, 111, 110,
    34, 44, 34, 115, 105, 122, 101, 34, 58, 56, 125, 93, 44, 34, 111, 119, 110, 101, 114, 34, 58, 34, 34, 44,
    34, 105, 110, 105, 116, 105, 97, 108, 34, 58, 34, 34, 44, 34, 117, 110, 105, 116, 34, 58, 34, 34, 125, 93,
    44, 34, 114, 111, 117, 110, 100, 105, 110, 103, 34, 58, 91, 123, 34, 116, 101, 110, 115, 111, 114, 34, 58, 34,
    118, 34, 44, 34, 111, 112, 101, 114, 97, 116, 105, 111, 110, 34, 58, 34, 115, 117, 109, 34, 125, 93, 125,
    0,
};
