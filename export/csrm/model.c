/* csrm: one step of 1 ms. Written by deploy-snn 0.2.0.
   Compile it with -ffp-contract=off and without -ffast-math, and the results are those of torch, to the bit. */
#include "model.h"

#if defined(__GNUC__) && !defined(__clang__)
/* Otherwise gcc puts branches into the loops over neurons, and gathers into those over weights. */
#pragma GCC optimize ("no-thread-jumps", "no-loop-unroll-and-jam")
#endif

#include <string.h>

static const float theta_decay = 0.9999999f;
static const float resKernel[20] = {
    5.6027964e-09f, 1.5229979e-08f, 4.1399378e-08f, 1.12535176e-07f, 3.0590232e-07f, 8.315287e-07f, 2.2603294e-06f, 6.1442124e-06f,
    1.67017e-05f, 4.539993e-05f, 0.0001234098f, 0.00033546262f, 0.000911882f, 0.0024787523f, 0.006737947f, 0.01831564f,
    0.049787067f, 0.13533528f, 0.36787945f, 1.0f,
};
static const float refKernel[10] = {
    -0.0061704903f, -0.01677313f, -0.0455941f, -0.123937614f, -0.33689734f, -0.915782f, -2.4893534f, -6.766764f,
    -18.393972f, -50.0f,
};
static const float decay = 0.99004984f;
static const float thresh = -52.0f;
static const float theta_plus = 0.05f;

/* The sum over the rows of a batch. */
static float sum_fired(const csrm_state *states, int32_t rows, int32_t i)
{
    int32_t sum = 0;
    for (int32_t r = 0; r < rows; r++) {
        sum += states[r].work.fired[i];
    }
    return (float)sum;
}

/* One step of one row. */
static void csrm_row(csrm_state *restrict state, const float *restrict x, uint8_t *restrict s)
{
    (void)state;
    (void)x;
    for (int32_t i0 = 0; i0 < 20; i0++) {
        for (int32_t i1 = 0; i1 < 8; i1++) {
            state->work.terms[i0 * 8 + i1] = resKernel[i0] * x[i0 * 8 + i1];
        }
    }
    for (int32_t i0 = 0; i0 < 10; i0++) {
        for (int32_t i1 = 0; i1 < 8; i1++) {
            state->work.terms_2[i0 * 8 + i1] = refKernel[i0] * (float)state->last_spikes[i0 * 8 + i1];
        }
    }
    for (int32_t i = 0; i < 72; i++) {
        state->work.cat[i] = (uint8_t)(state->last_spikes[i + 8]);
    }
    for (int32_t i = 0; i < 80; i++) {
        state->work.sums_2[i] = state->work.terms[i] + state->work.terms[i + 80];
    }
    for (int32_t i = 0; i < 40; i++) {
        state->work.sums_5[i] = state->work.terms_2[i] + state->work.terms_2[i + 40];
    }
    for (int32_t i = 0; i < 40; i++) {
        state->work.sums_3[i] = state->work.sums_2[i] + state->work.sums_2[i + 40];
    }
    for (int32_t i = 0; i < 16; i++) {
        state->work.sums_6[i] = state->work.sums_5[i] + state->work.sums_5[i + 16];
    }
    for (int32_t i = 0; i < 16; i++) {
        state->work.sums_4[i] = state->work.sums_3[i] + state->work.sums_3[i + 16];
    }
    for (int32_t i = 0; i < 8; i++) {
        const float new_v = state->v[i] * decay + (state->work.sums_4[i] + state->work.sums_4[i + 8] + state->work.sums_3[i + 32] + (state->work.sums_6[i] + state->work.sums_6[i + 8] + state->work.sums_5[i + 32]));
        const int new_s = new_v >= thresh + state->theta[i] * theta_decay;
        state->v[i] = new_v;
        state->work.cat[i + 72] = (uint8_t)(new_s);
        state->work.fired[i] = (uint8_t)(new_s);
        s[i] = (uint8_t)(new_s);
    }
    for (int32_t i = 0; i < 80; i++) {
        state->last_spikes[i] = (uint8_t)(state->work.cat[i]);
    }
}

/* Update what the rows of a batch share, after all of them have made their step. */
static void csrm_update_shared(csrm_state *states, int32_t rows)
{
    csrm_state *state = states;
    for (int32_t i = 0; i < 8; i++) {
        state->theta[i] = state->theta[i] * theta_decay + theta_plus * sum_fired(states, rows, i);
    }
    for (int32_t r = 1; r < rows; r++) {
        memcpy(states[r].theta, state->theta, sizeof state->theta);
    }
}

void csrm_initial_state(csrm_state *state)
{
    for (int32_t i = 0; i < 8; i++) {
        state->v[i] = -65.0f;
    }
    for (int32_t i = 0; i < 8; i++) {
        state->theta[i] = 0.0f;
    }
    for (int32_t i = 0; i < 80; i++) {
        state->last_spikes[i] = 0;
    }
}

void csrm_step(csrm_state *state, const csrm_inputs *inputs, const csrm_outputs *outputs)
{
    csrm_row(state, inputs->x, outputs->s);
    csrm_update_shared(state, 1);
}

void csrm_run(csrm_state *states, int32_t rows, int32_t steps, const csrm_inputs *inputs, const csrm_outputs *outputs)
{
    size_t at = 0;
    for (int32_t t = 0; t < steps; t++) {
        for (int32_t r = 0; r < rows; r++) {
            csrm_row(&states[r], inputs->x + at * 160, outputs->s + at * 8);
            at++;
        }
        csrm_update_shared(states, rows);
    }
}

int csrm_step_events(csrm_state *state, const csrm_events *events, const csrm_outputs *outputs)
{
    csrm_inputs inputs;
    for (int32_t i = 0; i < events->x_count; i++) {
        if (events->x[i] < 0 || events->x[i] >= 160) {
            return -1;
        }
    }
    for (int32_t i = 0; i < events->x_count; i++) {
        events->x_dense[events->x[i]] = 1.0f;
    }
    inputs.x = events->x_dense;
    csrm_step(state, &inputs, outputs);
    for (int32_t i = 0; i < events->x_count; i++) {
        events->x_dense[events->x[i]] = 0.0f;
    }
    return 0;
}

size_t csrm_state_size(void)
{
    return sizeof(csrm_state);
}

void csrm_store_state(const csrm_state *states, int32_t rows, const csrm_state_arrays *to)
{
    for (int32_t r = 0; r < rows; r++) {
        for (int32_t i = 0; i < 8; i++) {
            to->v[(size_t)r * 8 + (size_t)i] = states[r].v[i];
        }
        for (int32_t i = 0; i < 8; i++) {
            to->theta[i] = states[r].theta[i];
        }
        for (int32_t i = 0; i < 80; i++) {
            to->last_spikes[(size_t)r * 80 + (size_t)i] = (float)states[r].last_spikes[i];
        }
    }
}

int csrm_load_state(csrm_state *states, int32_t rows, const csrm_state_arrays *from)
{
    for (size_t i = 0; i < (size_t)rows * 80; i++) {
        if (from->last_spikes[i] != 0 && from->last_spikes[i] != 1) {
            return -1;
        }
    }
    for (int32_t r = 0; r < rows; r++) {
        for (int32_t i = 0; i < 8; i++) {
            states[r].v[i] = from->v[(size_t)r * 8 + (size_t)i];
        }
        for (int32_t i = 0; i < 8; i++) {
            states[r].theta[i] = from->theta[i];
        }
        for (int32_t i = 0; i < 80; i++) {
            states[r].last_spikes[i] = (uint8_t)from->last_spikes[(size_t)r * 80 + (size_t)i];
        }
    }
    return 0;
}

/* The contract, as JSON in ASCII. */
const char csrm_contract[] = {
    123, 34, 99, 111, 110, 116, 114, 97, 99, 116, 95, 118, 101, 114, 115, 105, 111, 110, 34, 58, 50, 44, 34, 100,
    116, 34, 58, 49, 46, 48, 44, 34, 116, 101, 110, 115, 111, 114, 115, 34, 58, 91, 123, 34, 110, 97, 109, 101,
    34, 58, 34, 120, 34, 44, 34, 114, 111, 108, 101, 34, 58, 34, 100, 114, 105, 118, 101, 34, 44, 34, 107, 105,
    110, 100, 34, 58, 110, 117, 108, 108, 44, 34, 100, 116, 121, 112, 101, 34, 58, 34, 102, 108, 111, 97, 116, 51,
    50, 34, 44, 34, 97, 120, 101, 115, 34, 58, 91, 123, 34, 110, 97, 109, 101, 34, 58, 34, 98, 97, 116, 99,
    104, 34, 44, 34, 115, 105, 122, 101, 34, 58, 110, 117, 108, 108, 125, 44, 123, 34, 110, 97, 109, 101, 34, 58,
    34, 119, 105, 110, 100, 111, 119, 34, 44, 34, 115, 105, 122, 101, 34, 58, 50, 48, 125, 44, 123, 34, 110, 97,
    109, 101, 34, 58, 34, 110, 101, 117, 114, 111, 110, 34, 44, 34, 115, 105, 122, 101, 34, 58, 56, 125, 93, 44,
    34, 111, 119, 110, 101, 114, 34, 58, 34, 34, 44, 34, 105, 110, 105, 116, 105, 97, 108, 34, 58, 34, 34, 44,
    34, 117, 110, 105, 116, 34, 58, 34, 109, 86, 34, 125, 44, 123, 34, 110, 97, 109, 101, 34, 58, 34, 118, 34,
    44, 34, 114, 111, 108, 101, 34, 58, 34, 115, 116, 97, 116, 101, 34, 44, 34, 107, 105, 110, 100, 34, 58, 34,
    112, 111, 116, 101, 110, 116, 105, 97, 108, 34, 44, 34, 100, 116, 121, 112, 101, 34, 58, 34, 102, 108, 111, 97,
    116, 51, 50, 34, 44, 34, 97, 120, 101, 115, 34, 58, 91, 123, 34, 110, 97, 109, 101, 34, 58, 34, 98, 97,
    116, 99, 104, 34, 44, 34, 115, 105, 122, 101, 34, 58, 110, 117, 108, 108, 125, 44, 123, 34, 110, 97, 109, 101,
    34, 58, 34, 110, 101, 117, 114, 111, 110, 34, 44, 34, 115, 105, 122, 101, 34, 58, 56, 125, 93, 44, 34, 111,
    119, 110, 101, 114, 34, 58, 34, 34, 44, 34, 105, 110, 105, 116, 105, 97, 108, 34, 58, 34, 114, 101, 115, 116,
    34, 44, 34, 117, 110, 105, 116, 34, 58, 34, 109, 86, 34, 125, 44, 123, 34, 110, 97, 109, 101, 34, 58, 34,
    116, 104, 101, 116, 97, 34, 44, 34, 114, 111, 108, 101, 34, 58, 34, 115, 116, 97, 116, 101, 34, 44, 34, 107,
    105, 110, 100, 34, 58, 34, 116, 104, 114, 101, 115, 104, 111, 108, 100, 34, 44, 34, 100, 116, 121, 112, 101, 34,
    58, 34, 102, 108, 111, 97, 116, 51, 50, 34, 44, 34, 97, 120, 101, 115, 34, 58, 91, 123, 34, 110, 97, 109,
    101, 34, 58, 34, 110, 101, 117, 114, 111, 110, 34, 44, 34, 115, 105, 122, 101, 34, 58, 56, 125, 93, 44, 34,
    111, 119, 110, 101, 114, 34, 58, 34, 34, 44, 34, 105, 110, 105, 116, 105, 97, 108, 34, 58, 34, 116, 104, 101,
    116, 97, 34, 44, 34, 117, 110, 105, 116, 34, 58, 34, 109, 86, 34, 125, 44, 123, 34, 110, 97, 109, 101, 34,
    58, 34, 108, 97, 115, 116, 95, 115, 112, 105, 107, 101, 115, 34, 44, 34, 114, 111, 108, 101, 34, 58, 34, 115,
    116, 97, 116, 101, 34, 44, 34, 107, 105, 110, 100, 34, 58, 34, 119, 105, 110, 100, 111, 119, 34, 44, 34, 100,
    116, 121, 112, 101, 34, 58, 34, 102, 108, 111, 97, 116, 51, 50, 34, 44, 34, 97, 120, 101, 115, 34, 58, 91,
    123, 34, 110, 97, 109, 101, 34, 58, 34, 98, 97, 116, 99, 104, 34, 44, 34, 115, 105, 122, 101, 34, 58, 110,
    117, 108, 108, 125, 44, 123, 34, 110, 97, 109, 101, 34, 58, 34, 119, 105, 110, 100, 111, 119, 34, 44, 34, 115,
    105, 122, 101, 34, 58, 49, 48, 125, 44, 123, 34, 110, 97, 109, 101, 34, 58, 34, 110, 101, 117, 114, 111, 110,
    34, 44, 34, 115, 105, 122, 101, 34, 58, 56, 125, 93, 44, 34, 111, 119, 110, 101, 114, 34, 58, 34, 34, 44,
    34, 105, 110, 105, 116, 105, 97, 108, 34, 58, 34, 48, 34, 44, 34, 117, 110, 105, 116, 34, 58, 34, 34, 125,
    44, 123, 34, 110, 97, 109, 101, 34, 58, 34, 115, 34, 44, 34, 114, 111, 108, 101, 34, 58, 34, 115, 112, 105,
    107, 101, 115, 34, 44, 34, 107, 105, 110, 100, 34, 58, 110, 117, 108, 108, 44, 34, 100, 116, 121, 112, 101, 34,
    58, 34, 98, 111, 111, 108, 34, 44, 34, 97, 120, 101, 115, 34, 58, 91, 123, 34, 110, 97, 109, 101, 34, 58,
    34, 98, 97, 116, 99, 104, 34, 44, 34, 115, 105, 122, 101, 34, 58, 110, 117, 108, 108, 125, 44, 123, 34, 110,
    97, 109, 101, 34, 58, 34, 110, 101, 117, 114, 111, 110, 34, 44, 34, 115, 105, 122, 101, 34, 58, 56, 125, 93,
    44, 34, 111, 119, 110, 101, 114, 34, 58, 34, 34, 44, 34, 105, 110, 105, 116, 105, 97, 108, 34, 58, 34, 34,
    44, 34, 117, 110, 105, 116, 34, 58, 34, 34, 125, 93, 44, 34, 114, 111, 117, 110, 100, 105, 110, 103, 34, 58,
    91, 93, 125,
    0,
};
