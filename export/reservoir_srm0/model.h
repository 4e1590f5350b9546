/* reservoir_srm0: one step of 1 ms. Written by deploy-snn 0.2.0. */
#ifndef RESERVOIR_SRM0_H
#define RESERVOIR_SRM0_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The number of elements of each tensor, for one row of a batch. */
enum {
    reservoir_srm0_size_X_x = 16,
    reservoir_srm0_size_readout_noise = 10,
    reservoir_srm0_size_X_previous = 16,
    reservoir_srm0_size_reservoir_v = 30,
    reservoir_srm0_size_reservoir_refrac_count = 30,
    reservoir_srm0_size_reservoir_previous = 30,
    reservoir_srm0_size_readout_v = 10,
    reservoir_srm0_size_readout_refrac_count = 10,
    reservoir_srm0_size_reservoir_s = 30,
    reservoir_srm0_size_readout_s = 10,
};

/* The state of one row, which the caller owns. The scratch memory of a step needs no initial value. */
typedef struct {
    float reservoir_v[30]; /* reservoir.v */
    float reservoir_refrac_count[30]; /* reservoir.refrac_count */
    float readout_v[10]; /* readout.v */
    float readout_refrac_count[10]; /* readout.refrac_count */
    struct {
        float X_to_reservoir_drive[30];
        float X_to_reservoir_drive_2[30];
        float reservoir_to_readout_drive[10];
        int32_t list[30];
    } work;
    uint8_t X_previous[16]; /* X.previous */
    uint8_t reservoir_previous[30]; /* reservoir.previous */
} reservoir_srm0_state;

/* The inputs, each [steps, rows, elements]. */
typedef struct {
    const float *X_x; /* X.x */
    const float *readout_noise; /* readout.noise */
} reservoir_srm0_inputs;

/* Where the outputs are written to, each [steps, rows, elements]. Spikes are 0 or 1. */
typedef struct {
    uint8_t *reservoir_s; /* reservoir.s */
    uint8_t *readout_s; /* readout.s */
} reservoir_srm0_outputs;

/* The inputs of one step as spike lists: the indices of the spikes, of 1.0 each, and their number. `dense` is scratch
   memory as large as the input: all 0 before the first call, and again after each call. */
typedef struct {
    const int32_t *X_x;
    int32_t X_x_count;
    float *X_x_dense;
    const float *readout_noise;
} reservoir_srm0_events;

/* The states in the element types of the contract, each [rows, elements]; what rows share is there once. */
typedef struct {
    float *X_previous;
    float *reservoir_v;
    float *reservoir_refrac_count;
    float *reservoir_previous;
    float *readout_v;
    float *readout_refrac_count;
} reservoir_srm0_state_arrays;

/* The contract of the model, as JSON. */
extern const char reservoir_srm0_contract[];

/* Set the state before the first step. */
void reservoir_srm0_initial_state(reservoir_srm0_state *state);

/* Run one step of one row. */
void reservoir_srm0_step(reservoir_srm0_state *state, const reservoir_srm0_inputs *inputs, const reservoir_srm0_outputs *outputs);

/* Run several steps of all rows of a batch. `states` has one element for each row. */
void reservoir_srm0_run(reservoir_srm0_state *states, int32_t rows, int32_t steps, const reservoir_srm0_inputs *inputs, const reservoir_srm0_outputs *outputs);

/* Run one step of one row. Returns 0, or -1 for an index out of range; the state does not change then. */
int reservoir_srm0_step_events(reservoir_srm0_state *state, const reservoir_srm0_events *events, const reservoir_srm0_outputs *outputs);

/* The size of the state of one row, for hosts that load the model at run time. */
size_t reservoir_srm0_state_size(void);

/* Copy the states of all rows out of the structs, or into them. Loading returns 0, or -1 if a state that holds
   spikes is neither 0 nor 1; nothing changes then. */
void reservoir_srm0_store_state(const reservoir_srm0_state *states, int32_t rows, const reservoir_srm0_state_arrays *to);
int reservoir_srm0_load_state(reservoir_srm0_state *states, int32_t rows, const reservoir_srm0_state_arrays *from);

#ifdef __cplusplus
}
#endif

#endif
