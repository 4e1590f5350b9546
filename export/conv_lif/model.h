/* conv_lif: one step of 1 ms. Written by deploy-snn 0.2.0. */
#ifndef CONV_LIF_H
#define CONV_LIF_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The number of elements of each tensor, for one row of a batch. */
enum {
    conv_lif_size_X_x = 36,
    conv_lif_size_X_previous = 36,
    conv_lif_size_conv_v = 32,
    conv_lif_size_conv_refrac_count = 32,
    conv_lif_size_conv_previous = 32,
    conv_lif_size_pool_v = 8,
    conv_lif_size_pool_refrac_count = 8,
    conv_lif_size_pool_previous = 8,
    conv_lif_size_readout_v = 10,
    conv_lif_size_readout_refrac_count = 10,
    conv_lif_size_conv_to_pool_rates = 32,
    conv_lif_size_conv_s = 32,
    conv_lif_size_pool_s = 8,
    conv_lif_size_readout_s = 10,
};

/* The state of one row, which the caller owns. The scratch memory of a step needs no initial value. */
typedef struct {
    float conv_v[32]; /* conv.v */
    float conv_refrac_count[32]; /* conv.refrac_count */
    float pool_v[8]; /* pool.v */
    float pool_refrac_count[8]; /* pool.refrac_count */
    float readout_v[10]; /* readout.v */
    float readout_refrac_count[10]; /* readout.refrac_count */
    float conv_to_pool_rates[32]; /* conv_to_pool.rates */
    struct {
        float X_to_conv_drive[32];
        float conv_to_pool_sums[32];
        float conv_to_pool_values[32];
        int32_t conv_to_pool_winner[8];
        float pool_to_readout_drive[10];
        int32_t list[8];
        uint8_t conv_values[32];
    } work;
    uint8_t X_previous[36]; /* X.previous */
    uint8_t conv_previous[32]; /* conv.previous */
    uint8_t pool_previous[8]; /* pool.previous */
} conv_lif_state;

/* The inputs, each [steps, rows, elements]. */
typedef struct {
    const float *X_x; /* X.x */
} conv_lif_inputs;

/* Where the outputs are written to, each [steps, rows, elements]. Spikes are 0 or 1. */
typedef struct {
    uint8_t *conv_s; /* conv.s */
    uint8_t *pool_s; /* pool.s */
    uint8_t *readout_s; /* readout.s */
} conv_lif_outputs;

/* The inputs of one step as spike lists: the indices of the spikes, of 1.0 each, and their number. `dense` is scratch
   memory as large as the input: all 0 before the first call, and again after each call. */
typedef struct {
    const int32_t *X_x;
    int32_t X_x_count;
    float *X_x_dense;
} conv_lif_events;

/* The states in the element types of the contract, each [rows, elements]; what rows share is there once. */
typedef struct {
    float *X_previous;
    float *conv_v;
    float *conv_refrac_count;
    float *conv_previous;
    float *pool_v;
    float *pool_refrac_count;
    float *pool_previous;
    float *readout_v;
    float *readout_refrac_count;
    float *conv_to_pool_rates;
} conv_lif_state_arrays;

/* The contract of the model, as JSON. */
extern const char conv_lif_contract[];

/* Set the state before the first step. */
void conv_lif_initial_state(conv_lif_state *state);

/* Run one step of one row. */
void conv_lif_step(conv_lif_state *state, const conv_lif_inputs *inputs, const conv_lif_outputs *outputs);

/* Run several steps of all rows of a batch. `states` has one element for each row. */
void conv_lif_run(conv_lif_state *states, int32_t rows, int32_t steps, const conv_lif_inputs *inputs, const conv_lif_outputs *outputs);

/* Run one step of one row. Returns 0, or -1 for an index out of range; the state does not change then. */
int conv_lif_step_events(conv_lif_state *state, const conv_lif_events *events, const conv_lif_outputs *outputs);

/* The size of the state of one row, for hosts that load the model at run time. */
size_t conv_lif_state_size(void);

/* Copy the states of all rows out of the structs, or into them. Loading returns 0, or -1 if a state that holds
   spikes is neither 0 nor 1; nothing changes then. */
void conv_lif_store_state(const conv_lif_state *states, int32_t rows, const conv_lif_state_arrays *to);
int conv_lif_load_state(conv_lif_state *states, int32_t rows, const conv_lif_state_arrays *from);

#ifdef __cplusplus
}
#endif

#endif
