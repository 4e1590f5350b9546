/* diehl-and-cook: one step of 1 ms. Written by deploy-snn 0.2.0.
   Compile it with -ffp-contract=off and without -ffast-math, and the results are those of torch, to the bit. */
#include "model.h"

#if defined(__GNUC__) && !defined(__clang__)
/* Otherwise gcc puts branches into the loops over neurons, and gathers into those over weights. */
#pragma GCC optimize ("no-thread-jumps", "no-loop-unroll-and-jam")
#endif

#include <string.h>

static const float theta_decay = 0.9999999f;
static const float rest = -65.0f;
static const float decay = 0.99004984f;
static const float dt = 1.0f;
static const float thresh = -52.0f;
static const float reset = -65.0f;
static const float refrac = 5.0f;
static const float theta_plus = 0.05f;

/* The sum over the rows of a batch. */
static float sum_fired(const diehl_and_cook_state *states, int32_t rows, int32_t i)
{
    int32_t sum = 0;
    for (int32_t r = 0; r < rows; r++) {
        sum += states[r].work.fired[i];
    }
    return (float)sum;
}

/* One step of one row. */
static void diehl_and_cook_row(
    diehl_and_cook_state *restrict state,
    const float *restrict x,
    const float *restrict noise,
    uint8_t *restrict s)
{
    int32_t winner = 0;
    (void)state;
    (void)x;
    (void)noise;
    for (int32_t i = 0; i < 8; i++) {
        const float x_i = x[i];
        const float new_v = decay * (state->v[i] - rest) + rest + (state->refrac_count[i] <= 0.0f ? x_i : 0.0f);
        const float new_refrac_count = state->refrac_count[i] - dt;
        const int new_fired = new_v >= thresh + state->theta[i] * theta_decay;
        const float noise_i = noise[i];
        state->work.fired[i] = (uint8_t)(new_fired);
        state->v[i] = new_fired ? reset : new_v;
        state->refrac_count[i] = new_fired ? refrac : new_refrac_count;
        state->work.chosen[i] = new_fired ? noise_i : -1.0f;
    }
    /* The index of the largest chosen, of equal ones the first. */
    {
        uint8_t any = 0;
        for (int32_t i = 0; i < 8; i++) {
            any = (uint8_t)(any | state->work.fired[i]);
        }
        float best = state->work.chosen[0];
        int32_t index = 0;
        for (int32_t i = 1; any && i < 8; i++) {
            if (!(state->work.chosen[i] <= best) && best == best) {
                best = state->work.chosen[i];
                index = i;
            }
        }
        winner = index;
    }
    for (int32_t i = 0; i < 8; i++) {
        s[i] = (uint8_t)(state->work.fired[i] & (i == winner));
    }
}

/* Update what the rows of a batch share, after all of them have made their step. */
static void diehl_and_cook_update_shared(diehl_and_cook_state *states, int32_t rows)
{
    diehl_and_cook_state *state = states;
    for (int32_t i = 0; i < 8; i++) {
        state->theta[i] = state->theta[i] * theta_decay + theta_plus * sum_fired(states, rows, i);
    }
    for (int32_t r = 1; r < rows; r++) {
        memcpy(states[r].theta, state->theta, sizeof state->theta);
    }
}

void diehl_and_cook_initial_state(diehl_and_cook_state *state)
{
    for (int32_t i = 0; i < 8; i++) {
        state->v[i] = -65.0f;
    }
    for (int32_t i = 0; i < 8; i++) {
        state->theta[i] = 0.0f;
    }
    for (int32_t i = 0; i < 8; i++) {
        state->refrac_count[i] = 0.0f;
    }
}

void diehl_and_cook_step(diehl_and_cook_state *state, const diehl_and_cook_inputs *inputs, const diehl_and_cook_outputs *outputs)
{
    diehl_and_cook_row(state, inputs->x, inputs->noise, outputs->s);
    diehl_and_cook_update_shared(state, 1);
}

void diehl_and_cook_run(diehl_and_cook_state *states, int32_t rows, int32_t steps, const diehl_and_cook_inputs *inputs, const diehl_and_cook_outputs *outputs)
{
    size_t at = 0;
    for (int32_t t = 0; t < steps; t++) {
        for (int32_t r = 0; r < rows; r++) {
            diehl_and_cook_row(&states[r], inputs->x + at * 8, inputs->noise + at * 8, outputs->s + at * 8);
            at++;
        }
        diehl_and_cook_update_shared(states, rows);
    }
}

int diehl_and_cook_step_events(diehl_and_cook_state *state, const diehl_and_cook_events *events, const diehl_and_cook_outputs *outputs)
{
    diehl_and_cook_inputs inputs;
    for (int32_t i = 0; i < events->x_count; i++) {
        if (events->x[i] < 0 || events->x[i] >= 8) {
            return -1;
        }
    }
    for (int32_t i = 0; i < events->x_count; i++) {
        events->x_dense[events->x[i]] = 1.0f;
    }
    inputs.x = events->x_dense;
    inputs.noise = events->noise;
    diehl_and_cook_step(state, &inputs, outputs);
    for (int32_t i = 0; i < events->x_count; i++) {
        events->x_dense[events->x[i]] = 0.0f;
    }
    return 0;
}

size_t diehl_and_cook_state_size(void)
{
    return sizeof(diehl_and_cook_state);
}

void diehl_and_cook_store_state(const diehl_and_cook_state *states, int32_t rows, const diehl_and_cook_state_arrays *to)
{
    for (int32_t r = 0; r < rows; r++) {
        for (int32_t i = 0; i < 8; i++) {
            to->v[(size_t)r * 8 + (size_t)i] = states[r].v[i];
        }
        for (int32_t i = 0; i < 8; i++) {
            to->theta[i] = states[r].theta[i];
        }
        for (int32_t i = 0; i < 8; i++) {
            to->refrac_count[(size_t)r * 8 + (size_t)i] = states[r].refrac_count[i];
        }
    }
}

int diehl_and_cook_load_state(diehl_and_cook_state *states, int32_t rows, const diehl_and_cook_state_arrays *from)
{
    for (int32_t r = 0; r < rows; r++) {
        for (int32_t i = 0; i < 8; i++) {
            states[r].v[i] = from->v[(size_t)r * 8 + (size_t)i];
        }
        for (int32_t i = 0; i < 8; i++) {
            states[r].theta[i] = from->theta[i];
        }
        for (int32_t i = 0; i < 8; i++) {
            states[r].refrac_count[i] = from->refrac_count[(size_t)r * 8 + (size_t)i];
        }
    }
    return 0;
}

/* The contract, as JSON in ASCII. */
const char diehl_and_cook_contract[] = {
    123, 34, 99, 111, 110, 116, 114, 97, 99, 116, 95, 118, 101, 114, 115, 105, 111, 110, 34, 58, 50, 44, 34, 100,
    116, 34, 58, 49, 46, 48, 44, 34, 116, 101, 110, 115, 111, 114, 115, 34, 58, 91, 123, 34, 110, 97, 109, 101,
    34, 58, 34, 120, 34, 44, 34, 114, 111, 108, 101, 34, 58, 34, 100, 114, 105, 118, 101, 34, 44, 34, 107, 105,
    110, 100, 34, 58, 110, 117, 108, 108, 44, 34, 100, 116, 121, 112, 101, 34, 58, 34, 102, 108, 111, 97, 116, 51,
    50, 34, 44, 34, 97, 120, 101, 115, 34, 58, 91, 123, 34, 110, 97, 109, 101, 34, 58, 34, 98, 97, 116, 99,
    104, 34, 44, 34, 115, 105, 122, 101, 34, 58, 110, 117, 108, 108, 125, 44, 123, 34, 110, 97, 109, 101, 34, 58,
    34, 110, 101, 117, 114, 111, 110, 34, 44, 34, 115, 105, 122, 101, 34, 58, 56, 125, 93, 44, 34, 111, 119, 110,
    101, 114, 34, 58, 34, 34, 44, 34, 105, 110, 105, 116, 105, 97, 108, 34, 58, 34, 34, 44, 34, 117, 110, 105,
    116, 34, 58, 34, 109, 86, 34, 125, 44, 123, 34, 110, 97, 109, 101, 34, 58, 34, 110, 111, 105, 115, 101, 34,
    44, 34, 114, 111, 108, 101, 34, 58, 34, 110, 111, 105, 115, 101, 34, 44, 34, 107, 105, 110, 100, 34, 58, 110,
    117, 108, 108, 44, 34, 100, 116, 121, 112, 101, 34, 58, 34, 102, 108, 111, 97, 116, 51, 50, 34, 44, 34, 97,
    120, 101, 115, 34, 58, 91, 123, 34, 110, 97, 109, 101, 34, 58, 34, 98, 97, 116, 99, 104, 34, 44, 34, 115,
    105, 122, 101, 34, 58, 110, 117, 108, 108, 125, 44, 123, 34, 110, 97, 109, 101, 34, 58, 34, 110, 101, 117, 114,
    111, 110, 34, 44, 34, 115, 105, 122, 101, 34, 58, 56, 125, 93, 44, 34, 111, 119, 110, 101, 114, 34, 58, 34,
    34, 44, 34, 105, 110, 105, 116, 105, 97, 108, 34, 58, 34, 34, 44, 34, 117, 110, 105, 116, 34, 58, 34, 117,
    110, 105, 102, 111, 114, 109, 32, 111, 110, 32, 91, 48, 44, 32, 49, 41, 34, 125, 44, 123, 34, 110, 97, 109,
    101, 34, 58, 34, 118, 34, 44, 34, 114, 111, 108, 101, 34, 58, 34, 115, 116, 97, 116, 101, 34, 44, 34, 107,
    105, 110, 100, 34, 58, 34, 112, 111, 116, 101, 110, 116, 105, 97, 108, 34, 44, 34, 100, 116, 121, 112, 101, 34,
    58, 34, 102, 108, 111, 97, 116, 51, 50, 34, 44, 34, 97, 120, 101, 115, 34, 58, 91, 123, 34, 110, 97, 109,
    101, 34, 58, 34, 98, 97, 116, 99, 104, 34, 44, 34, 115, 105, 122, 101, 34, 58, 110, 117, 108, 108, 125, 44,
    123, 34, 110, 97, 109, 101, 34, 58, 34, 110, 101, 117, 114, 111, 110, 34, 44, 34, 115, 105, 122, 101, 34, 58,
    56, 125, 93, 44, 34, 111, 119, 110, 101, 114, 34, 58, 34, 34, 44, 34, 105, 110, 105, 116, 105, 97, 108, 34,
    58, 34, 114, 101, 115, 116, 34, 44, 34, 117, 110, 105, 116, 34, 58, 34, 109, 86, 34, 125, 44, 123, 34, 110,
    97, 109, 101, 34, 58, 34, 116, 104, 101, 116, 97, 34, 44, 34, 114, 111, 108, 101, 34, 58, 34, 115, 116, 97,
    116, 101, 34, 44, 34, 107, 105, 110, 100, 34, 58, 34, 116, 104, 114, 101, 115, 104, 111, 108, 100, 34, 44, 34,
    100, 116, 121, 112, 101, 34, 58, 34, 102, 108, 111, 97, 116, 51, 50, 34, 44, 34, 97, 120, 101, 115, 34, 58,
    91, 123, 34, 110, 97, 109, 101, 34, 58, 34, 110, 101, 117, 114, 111, 110, 34, 44, 34, 115, 105, 122, 101, 34,
    58, 56, 125, 93, 44, 34, 111, 119, 110, 101, 114, 34, 58, 34, 34, 44, 34, 105, 110, 105, 116, 105, 97, 108,
    34, 58, 34, 116, 104, 101, 116, 97, 34, 44, 34, 117, 110, 105, 116, 34, 58, 34, 109, 86, 34, 125, 44, 123,
    34, 110, 97, 109, 101, 34, 58, 34, 114, 101, 102, 114, 97, 99, 95, 99, 111, 117, 110, 116, 34, 44, 34, 114,
    111, 108, 101, 34, 58, 34, 115, 116, 97, 116, 101, 34, 44, 34, 107, 105, 110, 100, 34, 58, 34, 99, 111, 117,
    110, 116, 101, 114, 34, 44, 34, 100, 116, 121, 112, 101, 34, 58, 34, 102, 108, 111, 97, 116, 51, 50, 34, 44,
    34, 97, 120, 101, 115, 34, 58, 91, 123, 34, 110, 97, 109, 101, 34, 58, 34, 98, 97, 116, 99, 104, 34, 44,
    34, 115, 105, 122, 101, 34, 58, 110, 117, 108, 108, 125, 44, 123, 34, 110, 97, 109, 101, 34, 58, 34, 110, 101,
    117, 114, 111, 110, 34, 44, 34, 115, 105, 122, 101, 34, 58, 56, 125, 93, 44, 34, 111, 119, 110, 101, 114, 34,
    58, 34, 34, 44, 34, 105, 110, 105, 116, 105, 97, 108, 34, 58, 34, 48, 34, 44, 34, 117, 110, 105, 116, 34,
    58, 34, 109, 115, 34, 125, 44, 123, 34, 110, 97, 109, 101, 34, 58, 34, 115, 34, 44, 34, 114, 111, 108, 101,
    34, 58, 34, 115, 112, 105, 107, 101, 115, 34, 44, 34, 107, 105, 110, 100, 34, 58, 110, 117, 108, 108, 44, 34,
    100, 116, 121, 112, 101, 34, 58, 34, 98, 111, 111, 108, 34, 44, 34, 97, 120, 101, 115, 34, 58, 91, 123, 34,
    110, 97, 109, 101, 34, 58, 34, 98, 97, 116, 99, 104, 34, 44, 34, 115, 105, 122, 101, 34, 58, 110, 117, 108,
    108, 125, 44, 123, 34, 110, 97, 109, 101, 34, 58, 34, 110, 101, 117, 114, 111, 110, 34, 44, 34, 115, 105, 122,
    101, 34, 58, 56, 125, 93, 44, 34, 111, 119, 110, 101, 114, 34, 58, 34, 34, 44, 34, 105, 110, 105, 116, 105,
    97, 108, 34, 58, 34, 34, 44, 34, 117, 110, 105, 116, 34, 58, 34, 34, 125, 93, 44, 34, 114, 111, 117, 110,
    100, 105, 110, 103, 34, 58, 91, 93, 125,
    0,
};
