/* csrm: one step of 1 ms. Written by deploy-snn 0.2.0. */
#ifndef CSRM_H
#define CSRM_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The number of elements of each tensor, for one row of a batch. */
enum {
    csrm_size_x = 160,
    csrm_size_v = 8,
    csrm_size_theta = 8,
    csrm_size_last_spikes = 80,
    csrm_size_s = 8,
};

/* The state of one row, which the caller owns. The scratch memory of a step needs no initial value. */
typedef struct {
    float v[8]; /* v */
    float theta[8]; /* theta */
    struct {
        float terms[160];
        float sums_2[80];
        float sums_3[40];
        float sums_4[16];
        float terms_2[80];
        float sums_5[40];
        float sums_6[16];
        uint8_t cat[80];
        uint8_t fired[8];
    } work;
    uint8_t last_spikes[80]; /* last_spikes */
} csrm_state;

/* The inputs, each [steps, rows, elements]. */
typedef struct {
    const float *x; /* x */
} csrm_inputs;

/* Where the outputs are written to, each [steps, rows, elements]. Spikes are 0 or 1. */
typedef struct {
    uint8_t *s; /* s */
} csrm_outputs;

/* The inputs of one step as spike lists: the indices of the spikes, of 1.0 each, and their number. `dense` is scratch
   memory as large as the input: all 0 before the first call, and again after each call. */
typedef struct {
    const int32_t *x;
    int32_t x_count;
    float *x_dense;
} csrm_events;

/* The states in the element types of the contract, each [rows, elements]; what rows share is there once. */
typedef struct {
    float *v;
    float *theta;
    float *last_spikes;
} csrm_state_arrays;

/* The contract of the model, as JSON. */
extern const char csrm_contract[];

/* Set the state before the first step. */
void csrm_initial_state(csrm_state *state);

/* Run one step of one row. */
void csrm_step(csrm_state *state, const csrm_inputs *inputs, const csrm_outputs *outputs);

/* Run several steps of all rows of a batch. `states` has one element for each row. */
void csrm_run(csrm_state *states, int32_t rows, int32_t steps, const csrm_inputs *inputs, const csrm_outputs *outputs);

/* Run one step of one row. Returns 0, or -1 for an index out of range; the state does not change then. */
int csrm_step_events(csrm_state *state, const csrm_events *events, const csrm_outputs *outputs);

/* The size of the state of one row, for hosts that load the model at run time. */
size_t csrm_state_size(void);

/* Copy the states of all rows out of the structs, or into them. Loading returns 0, or -1 if a state that holds
   spikes is neither 0 nor 1; nothing changes then. */
void csrm_store_state(const csrm_state *states, int32_t rows, const csrm_state_arrays *to);
int csrm_load_state(csrm_state *states, int32_t rows, const csrm_state_arrays *from);

#ifdef __cplusplus
}
#endif

#endif
